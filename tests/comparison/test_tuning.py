"""Every arm chooses for itself what it may choose, on its training pairs alone."""

import json

import pytest
import yaml

from gesso.comparison.arms import Arm
from gesso.comparison.compare import compare
from gesso.comparison.tuning import chosen_arm, combinations_for, parse_grid
from tests.commands.test_compare import TINY, make_pairs


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_pairs(tmp_path_factory.mktemp("pairs"))


def test_values_are_read_from_words_as_from_python():
    grid = [{"lr": 1e-4, "augment": "mixup"}, {"lr": 1e-3, "augment": "mixup"}]
    assert parse_grid("lr=1e-4, 1e-3; augment=mixup") == parse_grid({"lr": [1e-4, 1e-3], "augment": ["mixup"]}) == grid
    assert parse_grid(None) == []


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("lr=1e-3", "expected two values or more"),
        ("lr", "expected OPTION=VALUE"),
        ("", "expected two values or more"),
        ("lrr=1,2", "tune: lrr: there is no such option; did you mean lr"),
        ("lr=1e-3,quick", "tune: lr: expected a number, got 'quick'"),
        ("lr=1e-3,-1", "tune: lr: expected a positive number, got -1"),
        ("steps=10,20", "a comparison decides steps for all its runs"),
        ("seed=1,2", "a comparison decides seed"),
        ("init=random,mimetic", "a comparison decides init"),
        ({"lr": 1e-3}, "tune: expected text or options"),
    ],
)
def test_what_cannot_be_tried_is_refused_before_anything_is_done(spec, message, tmp_path, data):
    with pytest.raises(ValueError, match=message):
        compare(out=tmp_path / "out", data=data, starts="random,mimetic", seeds=0, tune=spec, **TINY)
    assert not (tmp_path / "out").exists()


def test_of_one_pair_none_can_be_left_out(tmp_path, data):
    with pytest.raises(ValueError, match="of one pair none can be"):
        compare(out=tmp_path / "out", data=data, starts="random,mimetic", pairs="1,2", tune="lr=1e-4,1e-3", **TINY)


def test_an_arm_keeps_what_it_fixes_itself():
    free, fixed = Arm("random"), Arm("warm", changes={"lr": 5e-4})
    grid = parse_grid("lr=1e-4,1e-3")
    assert [arm.name for arm, _ in combinations_for([free, fixed], grid)] == ["random", "random"]
    assert [values for _, values in combinations_for([fixed], parse_grid("lr=1e-4,1e-3; augment=mixup,cutblur"))] == [
        {"augment": "mixup"},
        {"augment": "cutblur"},
    ]
    assert chosen_arm(fixed, [], 0, 4) == fixed


def test_each_arm_trains_with_what_was_best_on_training_pairs_left_out(tmp_path, data):
    arms = {"random": {}, "ours": {"init": "mimetic"}, "fixed": {"lr": 2e-4}}
    given = {"data": data, "arms": arms, "seeds": "0,1", "tune": "lr=1e-5,3e-3", "tune_folds": 2, **TINY}
    outcome = compare(out=tmp_path / "out", **given)
    facts = json.loads((tmp_path / "out/comparison.json").read_text())
    assert {(c["arm"], c["fold"]) for c in facts["choices"]} == {("random", 0), ("random", 1), ("ours", 0), ("ours", 1)}
    pairs = json.loads((tmp_path / "out/pairs.json").read_text())
    for choice in facts["choices"]:
        assert choice["best"] == max(choice["psnrs"], key=choice["psnrs"].get)
        rates = {
            yaml.safe_load(path.read_text())["lr"]
            for path in (tmp_path / "out/runs").glob(f"*/seed-*-fold-{choice['fold']}/{choice['arm']}-*/config.yaml")
        }
        assert rates == {choice["values"]["lr"]}
    for number, fold in enumerate(pairs):  # what is left out to choose is never what is tested
        tried = {path.resolve().name for path in (tmp_path / "out/data").glob(f"*/tuning-{number}-*/test/input/*.png")}
        assert tried
        assert tried <= {f"{name}.png" for name in fold["train"]}
        assert not tried & {f"{name}.png" for name in fold["test"]}
    assert "Chosen on the training pairs" in outcome.page.read_text()
    table = (tmp_path / "out/comparison.md").read_text()
    assert "lr 1e-05: " in table
    before = {path: path.stat().st_mtime for path in (tmp_path / "out/runs").rglob("done.json")}
    compare(out=tmp_path / "out", **given)  # given again, nothing is trained
    assert before == {path: path.stat().st_mtime for path in (tmp_path / "out/runs").rglob("done.json")}


def test_clean_photos_are_degraded_once_to_choose_on(tmp_path, data):
    outcome = compare(
        out=tmp_path / "out", data=data / "target", layout="photos", starts="random,mimetic", seeds=0,
        tune="lr=1e-5,3e-3", tune_folds=2, **TINY,
    )  # fmt: skip
    assert "Chosen on the training pairs" in outcome.page.read_text()

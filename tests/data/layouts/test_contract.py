"""What every file of `gesso/data/layouts` owes, and what a layout of the user's own may do."""

import inspect
from pathlib import Path

import pytest

import gesso
from gesso import Pair, _discovery
from gesso.data.io import write_image
from gesso.data.layouts import NoPairsError, find_pairs, find_splits, open_layout, pairs_in
from gesso.data.training_data import DataOptions, open_training_data
from gesso.sources.leaves import leaves
from gesso.tasks import find_task


@pytest.mark.parametrize("name", gesso.list_layouts())
def test_a_file_holds_a_function_of_its_name(name, tmp_path):
    module, layout = _discovery.module("data/layouts", name), open_layout(name)
    parameters = list(inspect.signature(layout).parameters)
    assert parameters[:2] == ["root", "split"]
    assert set(parameters[2:]) <= {"pair_by", "scale", "sides"}
    assert len((inspect.getdoc(layout) or "").split("\n")[0]) > 20
    assert getattr(module, "TURN", 0) is None or module.TURN >= 0
    (tmp_path / "holidays").mkdir()
    try:
        assert pairs_in(name, tmp_path, "train") == [], "a folder that is laid out otherwise has no pairs"
    except NoPairsError:
        assert name == "photos"
    if hasattr(module, "find_sides"):
        assert module.find_sides(tmp_path, [tmp_path / "holidays"]) == []


# ------------------------------------------------------------------------------------------------ a user's own layout


def bursts(root: Path, split: str) -> list[Pair]:
    """Images called `3.lq.png` and `3.gt.png` in a folder of the split."""
    return [
        Pair(path.name.split(".")[0], path, path.with_name(path.name.replace(".lq.", ".gt.")))
        for path in sorted((root / f"{split}-set").glob("*.lq.png"))
    ]


def undivided(root: Path, split: str, pair_by: str = "stem", scale: int = 1) -> list[Pair]:
    return [
        Pair(f"{pair_by}{scale}-{path.parent.name}/{path.stem}", path, path) for path in sorted(root.rglob("*.lq.png"))
    ]


@pytest.fixture
def root(tmp_path):
    for split, count in (("train", 5), ("test", 2)):
        for number in range(count):
            for side in ("lq", "gt"):
                write_image(tmp_path / f"{split}-set" / f"{number}.{side}.png", leaves(0, number, 24))
    return tmp_path


@pytest.mark.parametrize("layout", [bursts, f"{__name__}:bursts"])
def test_a_function_is_a_layout_with_its_splits(root, layout):
    assert [pair.name for pair in find_pairs(root, "train", layout=layout)] == ["0", "1", "2", "3", "4"]
    assert find_splits(root, layout) == ["train", "test"]
    data = open_training_data(find_task("derain"), DataOptions(data=root, layout=layout))
    assert (len(data.train), len(data.validation), data.from_test) == (5, 2, True)
    assert data.train[0, 16]["lq"].shape == (3, 16, 16)
    data = open_training_data(find_task("derain"), DataOptions(data=root, layout=layout, val=root, holdout=None))
    assert len(data.validation) == 2
    with pytest.raises(ValueError, match="there is no split 'val', only train, test"):
        find_pairs(root, "val", layout=layout)


def test_it_is_given_the_options_that_it_takes(root):
    assert find_splits(root, undivided) == []
    assert find_pairs(root, layout=undivided, pair_by="order", scale=2)[0].name == "order2-test-set/0.lq"
    data = open_training_data(
        find_task("derain"), DataOptions(data=root, layout=lambda root, split: undivided(root, split)[:5])
    )
    assert (len(data.train), len(data.validation)) == (4, 1)
    with pytest.raises(ValueError, match="pair_by: the layout bursts pairs files its own way"):
        find_pairs(root, layout=bursts, pair_by="order")


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ("foldres", "unknown layout 'foldres'; did you mean folders?"),
        (f"{__name__}:burst", "has no 'burst'; did you mean bursts?"),
        (f"{__name__}:__name__", "layout .*: expected a function|expected a function .* got a str"),
        (lambda root, split: [("a", "b")], "expected a list of gesso.Pair, got tuple"),
        (lambda root, split: None, "expected a list of gesso.Pair, got NoneType"),
        (lambda root, split: 2 * bursts(root, split), "two pairs are called '0'"),
        (lambda root, split: [], "finds no pairs of the split train"),
    ],
)
def test_what_is_no_layout_is_refused(root, layout, message):
    with pytest.raises(ValueError, match=message):
        find_pairs(root, layout=layout)

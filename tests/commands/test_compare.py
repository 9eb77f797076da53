"""Comparisons: fair, done once, honest about failures, and able to say no."""

import contextlib
import csv
import html
import json
import os
import re
import shlex
import signal
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file
from torch import nn

import gesso
from gesso import _discovery, cli
from gesso.backbones import create_backbone
from gesso.commands._finetune import start as starting_network
from gesso.commands.pretrain import Pretrain
from gesso.comparison import jobs as _jobs
from gesso.comparison._runs import listed
from gesso.comparison.arms import Common, find_arms, find_start, read_recipe, split_name
from gesso.comparison.compare import Compare, compare
from gesso.comparison.jobs import Job, run_jobs
from gesso.comparison.splits import Fold, check_counts, claim_pairs, degraded_folder, drawn, link_pairs, open_folds
from gesso.data.folders import find_images
from gesso.data.layouts import Pair, find_pairs
from gesso.functional.processes import local_processes
from gesso.functional.random import generator_for
from gesso.training.finetune_module import FinetuneModule
from tests._processes import wait_for_child
from tests._runs import SMALL_NETWORK, SMALL_WORDS

NETWORK = SMALL_NETWORK
COMMON = Common(NETWORK, {}, "derain")
TINY = {
    "task": "derain", "steps": 4, "val_every": 2, "crop_size": 16, "batch_size": 1, "lr": 1e-3, "folds": 2, **NETWORK,
    "pretrain_args": {"steps": 2, "crop_size": 16, "batch_size": 1}, "finetune_args": {"precision": "float32"},
}  # fmt: skip


def make_pairs(folder, count=5):
    """Pairs of 24 x 32 noise pictures, `input` darker than `target`."""
    for i in range(count):
        picture = torch.rand(3, 24, 32, generator=generator_for(i))
        for side, image in (("input", picture / 2), ("target", picture)):
            gesso.write_image(folder / side / f"street {i}.png", image)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_pairs(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file to start from, of the network that is compared."""
    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("mine") / "backbone.safetensors"
    gesso.save(create_backbone(NETWORK["backbone"], **NETWORK["backbone_args"]), path)
    return path


@pytest.fixture(scope="module")
def starts(weights):
    return f"random,leaves-restore,{weights}"


@pytest.fixture(scope="module")
def done(tmp_path_factory, data, starts):
    """A finished comparison: 3 starts, 2 seeds, 2 folds, where the pre-training of one start fails."""
    out = tmp_path_factory.mktemp("compared") / "out"
    broken = {"ifp": {"pretext_args": {"mask_ratio": 7.0}}}
    outcome = compare(out=out, data=data, starts=f"{starts},ifp", seeds="0,1", start_args=broken, **TINY)
    return out, outcome


def root_mean_square(restored, gt):
    """A loss of the user's own."""
    return (restored - gt).square().mean().sqrt()


def rows(out):
    with (out / "comparison.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_start_is_measured_on_every_image_for_every_seed(done, weights):
    table = rows(done[0])
    assert list(table[0]) == ["seed", "fold", "start", "step", "image", "psnr", "ssim"]
    images = {f"street {i}" for i in range(5)}
    cells = [(row["seed"], row["start"], row["step"], row["image"]) for row in table]
    expected = {
        (s, n, k, i) for s in "01" for n in ("random", "leaves-restore", str(weights)) for k in "024" for i in images
    }
    assert set(cells) == expected
    assert len(cells) == len(expected)


def test_the_answer_is_a_page_a_table_and_a_sentence(done):
    out, outcome = done
    assert outcome.page == out / "comparison.html"
    assert [sentence.split(":")[0] for sentence in outcome.verdicts] == [
        "leaves-restore, 2 of 30,000 steps",
        outcome.verdicts[1].split(":")[0],
    ]
    assert all("2 seeds, 5 images: " in sentence for sentence in outcome.verdicts)
    assert all(sentence in (out / "comparison.md").read_text() for sentence in outcome.verdicts)


def test_a_start_that_fails_is_named_and_the_others_finish(done):
    out, outcome = done
    assert outcome.exit_code == 1
    assert "mask_ratio" in outcome.failures["ifp"]
    assert "IFP failed:" in outcome.page.read_text()
    assert len(outcome.verdicts) == 2
    assert "IFP failed: pre-training: " in (out / "comparison.md").read_text()


def test_runs_of_one_seed_and_fold_differ_in_their_start_alone(done):
    for place in (done[0] / "runs").glob("*/*"):
        recipes = [yaml.safe_load((run / "config.yaml").read_text()) for run in sorted(place.iterdir())]
        starts = [recipe.pop("init") for recipe in recipes]
        assert len(set(starts)) == 3
        assert recipes[0] == recipes[1] == recipes[2]


@pytest.mark.parametrize("transfer", ["network", "paper"])
def test_all_starts_get_the_same_new_last_layer(weights, transfer):
    networks = []
    for init in ("random", str(weights)):
        torch.manual_seed(0)
        body = create_backbone(NETWORK["backbone"], **NETWORK["backbone_args"])
        networks.append(starting_network(body, init, transfer))
    random, primed = (network.state_dict() for network in networks)
    relearned = [key for key in random if networks[0].is_head(key)]
    assert relearned
    assert all(torch.equal(random[key], primed[key]) for key in relearned)
    body = next(key for key in random if key.endswith("intro.weight"))
    assert not torch.equal(random[body], primed[body])


def test_pictures_of_the_first_seed_are_kept_with_input_and_truth(done, data):
    kinds = {path.stem for path in (done[0] / "images/street 3").iterdir()}
    assert {"input", "truth", "random", "leaves-restore"} < kinds
    assert torch.equal(
        gesso.read_image(done[0] / "images/street 3/truth.png"), gesso.read_image(data / "target/street 3.png")
    )


def test_costs_of_pretraining_and_finetuning_are_told(done):
    text = (done[0] / "comparison.md").read_text()
    assert "## Costs" in text
    assert "## At equal total compute" in text


def test_done_jobs_keep_no_state_to_resume(done):
    assert list(done[0].rglob("last.ckpt")) == [path for path in done[0].rglob("last.ckpt") if "ifp" in str(path)]
    assert len(list(done[0].glob("runs/*/*/*/backbone.safetensors"))) == 12


def count_runs(monkeypatch):
    """Names of the jobs that run from now on."""
    names, run = [], Job.run

    def counted(job):
        names.append(job.name)
        return run(job)

    monkeypatch.setattr(Job, "run", counted)
    return names


def test_given_again_nothing_is_trained_and_more_seeds_train_only_themselves(tmp_path, data, weights, monkeypatch):
    options = {"out": tmp_path / "out", "data": data, "starts": str(weights), **TINY}
    compare(seeds=0, **options)
    before = rows(tmp_path / "out")
    ran = count_runs(monkeypatch)
    assert compare(seeds=0, **options).exit_code == 0
    assert ran == []
    compare(seeds=[0, 1], **options)
    assert len(ran) == 4
    assert all("seed 1" in name for name in ran)
    assert [row for row in rows(tmp_path / "out") if row["seed"] == "0"] == before


def test_killed_and_given_again_the_result_is_that_of_an_unbroken_one(
    tmp_path, data, done, starts, monkeypatch, capsys
):
    options = {"out": tmp_path / "out", "data": data, "starts": starts, "seeds": "0,1", **TINY}
    run, begun = Job.run, []

    def killed(job):
        begun.append(job.name)
        if len(begun) == 6:
            raise KeyboardInterrupt
        run(job)

    monkeypatch.setattr(Job, "run", killed)
    with pytest.raises(KeyboardInterrupt):
        compare(**options)
    assert "give the same command again" in capsys.readouterr().out
    monkeypatch.setattr(Job, "run", run)
    again = count_runs(monkeypatch)
    compare(**options)
    assert len(again) == 1 + 12 - 5
    assert rows(tmp_path / "out") == rows(done[0])


def kill(monkeypatch, options, begins):
    """A comparison that is killed within a run, whose module is measuring as `begins` says."""
    score, threads = FinetuneModule.score, torch.get_num_threads()
    torch.set_num_threads(1)  # a fork has no others
    with monkeypatch.context() as patch:

        def deadly(module, *args):
            if begins(module):
                os.kill(os.getpid(), signal.SIGKILL)
            return score(module, *args)

        patch.setattr(FinetuneModule, "score", deadly)
        child = os.fork()
        if not child:
            with contextlib.suppress(BaseException):
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                compare(**options)
            os._exit(0)
        ended = os.WTERMSIG(wait_for_child(child))
    torch.set_num_threads(threads)
    assert ended == signal.SIGKILL


@pytest.mark.skipif(torch.cuda.is_available(), reason="a fork has no GPU")
@pytest.mark.parametrize("seeds", ["0", "0,1"])
def test_killed_within_a_measurement_no_seed_is_lost(tmp_path, data, weights, done, seeds, monkeypatch):
    options = {"data": data, "starts": str(weights), "seeds": seeds, **TINY}
    out = tmp_path / "out"
    last = f"seed-{seeds[-1]}-fold-1/random"
    kill(monkeypatch, {"out": out, **options}, lambda module: module.step == 4 and str(module.out).endswith(last))
    outcome = compare(out=out, **options)
    assert outcome.failures == {}
    kept = [row for row in rows(done[0]) if row["seed"] in seeds and row["start"] in ("random", str(weights))]
    assert [list(row.values())[:5] for row in rows(out)] == [list(row.values())[:5] for row in kept]
    psnrs = [[float(row["psnr"]) for row in each] for each in (rows(out), kept)]
    assert psnrs[0] == pytest.approx(psnrs[1], abs=0.02)  # with one thread sums are rounded otherwise
    assert f"{len(seeds.split(','))} seed" in outcome.verdicts[0]
    assert "Left out" not in (out / "comparison.md").read_text()


def test_a_job_that_is_called_done_without_its_measurement_is_done_again(tmp_path, data, weights):
    """As runs of older versions that were killed between the state of the last step and its measurement."""
    options = {"out": tmp_path / "out", "data": data, "starts": str(weights), "seeds": 0, **TINY}
    compare(**options)
    before = rows(tmp_path / "out")
    for name in ("random", f"{weights.parent.name}-backbone-*"):
        for run in (tmp_path / "out").glob(f"runs/*/seed-0-fold-1/{name}"):
            measured = (run / "images.csv").read_text().splitlines(keepends=True)
            (run / "images.csv").write_text("".join(line for line in measured if ",4," not in line))
    assert compare(**options).exit_code == 0
    assert rows(tmp_path / "out") == before


def test_a_comparison_whose_pairs_have_changed_is_not_taken_up(tmp_path, weights):
    folder = make_pairs(tmp_path / "pairs")
    options = {"out": tmp_path / "out", "data": folder, "starts": str(weights), "seeds": 0, **TINY}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Job, "run", lambda job: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            compare(**options)
    for side in ("input", "target"):
        (folder / side / "street 2.png").rename(folder / side / "lane.png")
    with pytest.raises(ValueError, match=r"they were 5, they are 5 \(gone: street 2; new: lane\); bring the old"):
        compare(**options)


def test_every_run_that_does_not_enter_the_gains_is_named(tmp_path, data, weights, monkeypatch, capsys):
    run = Job.run

    def fails(job):
        if job.name == "random, seed 1, fold 0, 2 pairs":
            raise OSError("no space")
        run(job)

    monkeypatch.setattr(Job, "run", fails)
    outcome = compare(out=tmp_path / "out", data=data, starts=str(weights), seeds="0,1", **TINY)
    assert outcome.exit_code == 1
    why = "there is no result of random, seed 1, fold 0, 2 pairs"
    expected = {"random, seed 1, fold 0, 2 pairs": "no space", "random, seed 1, fold 1, 2 pairs": why}
    expected |= {f"{weights}, seed 1, fold {fold}, 2 pairs": why for fold in (0, 1)}
    assert json.loads((tmp_path / "out/comparison.json").read_text())["left_out"] == expected
    said = [capsys.readouterr().out, (tmp_path / "out/comparison.md").read_text(), outcome.page.read_text()]
    for text in said:
        assert all(name in text for name in expected)
        assert "1 seed" in text


def test_runs_go_on_in_a_comparison_that_has_been_moved(tmp_path, data, monkeypatch):
    """As if all runs had been stopped between their last saved state and the word that they are done."""
    options = {"data": data, "starts": "leaves-restore", "seeds": "0", **TINY}
    with monkeypatch.context() as patch:
        patch.setattr(_jobs, "LEFTOVERS", ())
        compare(out=tmp_path / "here", **options)
    before = rows(tmp_path / "here")
    for finished in [*(tmp_path / "here").rglob("done.json")]:
        finished.unlink()
    (tmp_path / "here").rename(tmp_path / "there")
    assert compare(out=tmp_path / "there", **options).failures == {}
    assert rows(tmp_path / "there") == before


def test_the_command_on_the_page_repeats_the_recipe(done):
    line = (done[0] / "comparison.md").read_text().split("```sh\n")[-1].split("\n")[0]
    words = shlex.split(line)
    assert words[:2] == ["gesso", "compare"]
    again = cli.read_options(Compare, words[2:])
    recipe = yaml.safe_load((done[0] / "config.yaml").read_text())
    for name, value in recipe.items():
        given = again[name]
        assert (
            listed(given) == listed(value)
            if name in ("starts", "seeds", "pairs")
            else given == value or str(given) == value
        )


def test_the_page_ends_with_the_command_that_trains_the_best_arm_on_all_pairs(done, tmp_path, data):
    """Nothing helps in four steps, so it is random weights; the line of another arm is run, with all five pairs."""
    commands = json.loads((done[0] / "comparison.json").read_text())["next_commands"]
    assert list(commands) == ["random", "leaves-restore", list(commands)[2]]
    assert commands["random"] in html.unescape(re.sub(r"</?span[^>]*>", "", done[1].page.read_text()))
    assert "Take random weights" in done[1].page.read_text()
    words = shlex.split(commands["leaves-restore"])
    assert words[:2] == ["gesso", "finetune"]
    assert words[words.index("--data") + 1] == str(data)
    assert words[words.index("--out") + 1] == str(done[0].with_name("out-best"))
    words[words.index("--out") + 1] = str(tmp_path / "best")
    assert cli.main(words[1:]) == 0
    recipe = yaml.safe_load((tmp_path / "best/config.yaml").read_text())
    run = yaml.safe_load(next((done[0] / "runs").glob("*/seed-0-fold-0/leaves-restore*/config.yaml")).read_text())
    measured = {"lq", "gt", "val", "val_every", "val_at_start", "sample_every", "data", "holdout"}
    assert {k: v for k, v in recipe.items() if k not in measured} == {k: v for k, v in run.items() if k not in measured}
    assert recipe["holdout"] == 0


def test_a_start_says_how_much_of_its_pretraining_was_done(tmp_path, data):
    outcome = compare(out=tmp_path / "out", data=data, starts="ifp,leaves-restore", seeds=0, **TINY)
    assert [sentence.split(":")[0] for sentence in outcome.verdicts] == [
        "IFP, 2 of 30,000 steps", "leaves-restore, 2 of 30,000 steps",
    ]  # fmt: skip


def test_the_config_repeats_it_too(done):
    again = cli.read_options(Compare, ["--config", str(done[0] / "config.yaml"), "--out", "elsewhere"])
    assert again["start_args"] == {"ifp": {"pretext_args": {"mask_ratio": 7.0}}}


def test_arms_change_anything_of_fine_tuning_and_the_first_is_the_reference(tmp_path, data, weights):
    arms = {
        "plain": {},
        "ours": {"init": str(weights), "lr": 1e-4},
        "warm": {"warmup_steps": 2, "loss": "mse"},
        "pretrained": {"pretrain": {"pretext": "restore", "images": "leaves"}},
    }
    outcome = compare(out=tmp_path / "out", data=data, arms=arms, seeds="0,1", **TINY)
    assert [sentence.split(":")[0] for sentence in outcome.verdicts] == [
        "ours", "warm", "pretrained, 2 of 30,000 steps",
    ]  # fmt: skip
    page = outcome.page.read_text()
    assert "What helps nafnet_tiny to" in page
    assert "Gain over plain" in page
    assert "random weights" not in page
    assert "warmup_steps 2, loss mse" in page
    assert (
        "| start | gain (dB), 95 % interval | PSNR (dB) | no pair (dB) |"
        in (tmp_path / "out/comparison.md").read_text()
    )
    found = {}
    for config in (tmp_path / "out/runs").glob("*/seed-0-fold-0/*/config.yaml"):
        recipe = yaml.safe_load(config.read_text())
        found[config.parent.name.rsplit("-", 1)[0]] = (recipe["init"], recipe["lr"], recipe["warmup_steps"])
    assert found["plain"] == ("random", 1e-3, 0)
    assert found["ours"] == (str(weights), 1e-4, 0)
    assert found["warm"] == ("random", 1e-3, 2)
    assert found["pretrained"][0].endswith("backbone.safetensors")
    more = {**arms, "mine": {"loss": root_mean_square}}  # given again, only what is missing is done
    again = compare(out=tmp_path / "out", data=data, arms=more, seeds="0,1", **TINY)
    assert len(again.verdicts) == 4
    assert f"loss {__name__}:root_mean_square" in again.page.read_text()


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ({"one": {}}, "expected something to compare"),
        ({"one": {}, "two": {"stepz": 3}}, r"arms: two: stepz: there is no such option"),
        ({"one": {}, "two": {"lr": -1}}, r"arms: two: lr: expected a positive number, got -1"),
        ({"one": {}, "two": {"steps": 3}}, r"arms: two: a comparison decides steps for all its runs"),
        ({"one": {}, "two": {"seed": 3}}, r"arms: two: a comparison decides seed"),
        ({"one": {}, "two": {"init": "ifpp"}}, r"'ifpp' is no pretext, recipe or file of weights; did you mean ifp"),
        ({"one": {}, "two": {"init": "random", "pretrain": {"steps": 3}}}, "is not pre-trained, so it cannot have"),
        ({"one": {}, "two": {"pretrain": {"pretext": "ifp", "backbone": "x"}}}, "decides backbone"),
        ({"one": {}, "two": {"pretrain": 3}}, r"pretrain: expected options"),
        ({"a/b": {}, "a-b": {}}, "would share a name"),
    ],
)
def test_arms_that_cannot_be_are_refused_before_anything_is_done(arms, message, tmp_path, data):
    with pytest.raises(ValueError, match=message):
        compare(out=tmp_path / "out", data=data, arms=arms, seeds=0, **TINY)
    assert not (tmp_path / "out").exists()


def test_a_curve_over_the_number_of_pairs(tmp_path, data, weights):
    outcome = compare(out=tmp_path / "out", data=data, starts=str(weights), seeds=3, pairs="1,2", **TINY)
    assert "How many pairs it takes" in outcome.page.read_text()
    assert (tmp_path / "out/pairs/1/comparison.csv").exists()
    assert "1 seed (interval over images only)" in outcome.verdicts[0]


def test_pretrained_starts_can_be_shared(tmp_path, data, monkeypatch):
    ran = count_runs(monkeypatch)
    for name in ("one", "two"):
        compare(out=tmp_path / name, data=data, starts="ifp", seeds=0, cache=tmp_path / "cache", **TINY)
    assert sum(name.startswith("pre-training") for name in ran) == 1


def test_starts_of_one_recipe_share_their_pretraining_however_they_are_transferred(tmp_path, data, monkeypatch):
    recipe = read_recipe("restore") | {"finetune": {"keep_last": True, "features_lr": 0.5}}
    (tmp_path / "kept.yaml").write_text(yaml.safe_dump(recipe))
    ran = count_runs(monkeypatch)
    starts = ["restore", str(tmp_path / "kept.yaml")]
    out = compare(out=tmp_path / "out", data=data, starts=starts, seeds=0, **TINY).page.parent
    assert sum(name.startswith("pre-training") for name in ran) == 1
    recipes = [yaml.safe_load(path.read_text()) for path in (out / "runs").glob("*/seed-0-fold-0/*/config.yaml")]
    assert sorted((r["keep_last"], r["features_lr"]) for r in recipes) == [(False, 1.0), (False, 1.0), (True, 0.5)]
    assert len({recipe["init"] for recipe in recipes}) == 2


def test_clean_photos_are_degraded_anew_in_training_and_once_for_measurements(tmp_path, weights):
    photos = make_pairs(tmp_path / "pairs", 4) / "target"
    (photos / "more").mkdir()
    (photos / "street 3.png").rename(photos / "more" / "street 3.png")
    noise = {"name": "gaussian_noise", "sigma": 30}
    options = {"data": photos, "degradation": noise, "starts": str(weights), "seeds": [0, 1], **TINY}
    outcome = compare(out=tmp_path / "out", **options)
    assert "with 2 photos?" in outcome.page.read_text()
    assert {row["image"] for row in rows(tmp_path / "out")} == {"street 0", "street 1", "street 2", "more/street 3"}
    recipes = [yaml.safe_load(path.read_text()) for path in (tmp_path / "out").glob("runs/*/*/*/config.yaml")]
    assert all(recipe["degradation"] == noise and "lq" not in recipe for recipe in recipes)
    for fold in (0, 1):  # whatever the seed, a run is measured on the same degraded images
        assert len({recipe["val"] for recipe in recipes if recipe["val"].endswith(f"test-{fold}")}) == 1
    clean = gesso.read_image(photos / "street 1.png")
    degraded = gesso.read_image(tmp_path / "out/images/street 1/input.png")
    assert torch.equal(gesso.read_image(tmp_path / "out/images/street 1/truth.png"), clean)
    assert 255 * (degraded - clean).std() == pytest.approx(30, rel=0.3)
    assert sorted(path.name for path in (tmp_path / "out/data/degraded").iterdir()) == ["input", "target"]


def test_a_comparison_from_before_the_folder_was_renamed_finds_its_degraded_photos(tmp_path):
    (tmp_path / "data/spoilt").mkdir(parents=True)
    assert degraded_folder(tmp_path) == tmp_path / "data/spoilt"


class Own(nn.Module):
    """A network of the user's."""

    def __init__(self, width=4):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, image):
        return self.last(self.first(image).relu())


def test_a_network_of_the_users_own_is_compared(tmp_path, data):
    options = {"backbone": f"{__name__}:Own", "backbone_args": {"width": 5}, "starts": "leaves-restore", "seeds": 0}
    outcome = compare(out=tmp_path / "out", data=data, **TINY | options)
    assert outcome.exit_code == 0
    assert (tmp_path / "out/images/street 0/leaves-restore.png").exists()


# ------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"starts": "random"}, "something to compare"),
        ({"starts": "ifpp"}, "did you mean ifp"),
        ({"starts": "gone.safetensors"}, "no file gone.safetensors"),
        ({"starts": "ifp", "start_args": {"mfm": {}}}, "start_args"),
        ({"starts": "ifp", "start_args": {"ifp": {"finetune": {"steps": 9}}}}, "a comparison decides steps"),
        ({"starts": "ifp", "start_args": {"ifp": {"finetune": {"shrink": "half"}}}}, "shrink: expected a number, got"),
        ({"starts": "ifp", "start_args": {"ifp": {"stepss": 3}}}, "^ifp: .*did you mean steps"),
        ({"starts": "ifp", "start_args": {"ifp": {"backbone": "ipt_tiny"}}}, "comparison decides backbone"),
        ({"pretrain_args": {"steps": "many"}}, "^ifp: steps: expected a whole number, got 'many'"),
        ({"pretrain_args": {"out": "there"}}, "pretrain_args: a comparison decides out"),
        ({"finetune_args": {"steps": 9}}, "finetune_args: a comparison decides steps"),
        ({"finetune_args": {"init": "there"}}, "finetune_args: a comparison decides init"),
        ({"finetune_args": {"warmup_step": 9}}, "^finetune_args: .*did you mean warmup_steps"),
        ({"finetune_args": {"warmup_steps": "few"}}, "finetune_args: warmup_steps: expected a whole number, got 'few'"),
        ({"folds": 6}, "expected 2 to 5"),
        ({"pairs": "2,9"}, "from 1 to 2"),
        ({"pairs": "1,two"}, "pairs: expected whole numbers separated by commas, got two"),
        ({"seeds": [0, 1.5]}, r"seeds: expected a whole number or text or a list .*, got \[0, 1\.5\]"),
        ({"seeds": ""}, "seeds: expected one number or more"),
        ({"steps": 0}, "steps"),
        ({"task": "derian"}, "did you mean derain"),
        ({"task": "denoise_grey"}, "grey"),
        ({"degradation": "gaussian_nois"}, "did you mean gaussian_noise"),
        ({"data": None, "lq": "a", "gt": "b", "degradation": "rain"}, "a folder of them is needed"),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(tmp_path, data, options, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        compare(**{"out": tmp_path / "out", "data": data, **TINY, **options})
    assert not (tmp_path / "out").exists()


def test_weights_of_another_network_are_refused_before_anything_is_trained(tmp_path, data):
    gesso.save(create_backbone("nafnet_tiny"), tmp_path / "naf.safetensors")
    with pytest.raises(ValueError, match=r"naf\.safetensors"):
        compare(out=tmp_path / "out", data=data, starts=str(tmp_path / "naf.safetensors"), **TINY)
    assert not (tmp_path / "out").exists()


def test_a_file_is_not_pretrained_but_may_be_transferred_in_its_own_way(weights):
    assert find_start(str(weights), {"finetune": {"shrink": 0.5}}, COMMON).changes == {"shrink": 0.5}
    with pytest.raises(ValueError, match="is not pre-trained, so it cannot have steps"):
        find_start(str(weights), {"steps": 3}, COMMON)


def test_three_pairs_are_too_few(tmp_path):
    with pytest.raises(ValueError, match="at least 4 pairs to train on, found 3"):
        compare(out=tmp_path / "out", data=make_pairs(tmp_path / "few", 3), **TINY)


def test_three_photos_are_too_few(tmp_path):
    with pytest.raises(ValueError, match="at least 4 photos to train on, found 3"):
        compare(out=tmp_path / "out", data=make_pairs(tmp_path / "few", 3) / "target", **TINY)
    assert not (tmp_path / "out").exists()


def test_the_folder_of_another_comparison_is_refused(done, data, starts):
    with pytest.raises(ValueError, match=r"contains another run .*lr: was 0\.001, is 0\.5"):
        compare(out=done[0], data=data, starts=starts, seeds="0,1", **TINY | {"lr": 0.5})


def test_the_folder_of_something_else_is_refused(tmp_path, data):
    (tmp_path / "config.yaml").write_text("# gesso pretrain --config THIS_FILE --out FOLDER\nsteps: 3\n")
    with pytest.raises(ValueError, match="holds a run of another kind"):
        compare(out=tmp_path, data=data, starts="ifp", **TINY)


def test_a_start_whose_weights_have_gone_to_infinity_is_a_start_that_failed(tmp_path, data, weights):
    broken = create_backbone(NETWORK["backbone"], **NETWORK["backbone_args"])
    torch.nn.init.constant_(next(broken.parameters()), 1e38)
    gesso.save(broken, tmp_path / "broken.safetensors")
    both = f"{weights},{tmp_path / 'broken.safetensors'}"
    outcome = compare(out=tmp_path / "out", data=data, starts=both, seeds=0, **TINY)
    assert (outcome.exit_code, len(outcome.verdicts)) == (1, 1)
    assert "not finite" in outcome.failures[str(tmp_path / "broken.safetensors")]
    assert "failed:" in outcome.page.read_text()


def test_if_every_run_fails_it_says_why(tmp_path, data, weights):
    lost = {"finetune_args": {"loss": "l3"}}
    with pytest.raises(ValueError, match=r"nothing to compare.*l3"):
        compare(out=tmp_path / "out", data=data, starts=str(weights), seeds=0, **TINY | lost)


def test_a_number_out_of_range_is_refused_before_anything_runs(tmp_path, data):
    with pytest.raises(ValueError, match=r"^finetune_args: accumulate: expected a positive number, got 0"):
        compare(out=tmp_path / "out", data=data, starts="random", **TINY | {"finetune_args": {"accumulate": 0}})
    assert not (tmp_path / "out").exists()


# ----------------------------------------------------------------------------------------------------------- parts


@given(st.integers(4, 40), st.integers(2, 4))
def test_each_pair_is_tested_once_by_runs_that_have_not_seen_it(count, folds):
    pairs = [Pair(str(i), Path(f"{i}.png"), Path(f"{i}.png")) for i in range(count)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gesso.comparison.splits.pairs_if_any", lambda *_, **__: pairs)
        split = open_folds(None, lq="a", gt="b", folds=folds)
    assert sorted(int(pair.name) for fold in split for pair in fold.test) == list(range(count))
    for fold in split:
        assert {pair.name for pair in fold.train}.isdisjoint(pair.name for pair in fold.test)
        assert len(fold.train) + len(fold.test) == count
    assert max(len(fold.test) for fold in split) - min(len(fold.test) for fold in split) <= 1


def test_copies_and_inputs_of_one_truth_stay_on_one_side_of_folds(tmp_path, capsys):
    for path in find_images(make_pairs(tmp_path, 8) / "input"):
        path.rename(path.with_stem(f"{path.stem}_1"))
    for side, name in (("input", "street 3_1"), ("target", "street 3")):  # another name in another format
        Image.open(tmp_path / side / f"{name}.png").save(tmp_path / side / f"{name.replace('3', '9')}.tif")
    Image.open(tmp_path / "input/street 5_1.png").point(lambda v: v // 2).save(tmp_path / "input/street 5_2.png")
    scenes = {"street 9_1": "street 3_1", "street 5_2": "street 5_1"}
    for folds in (2, 3, 8):
        split = open_folds(tmp_path, folds=folds)
        assert sorted(pair.name for fold in split for pair in fold.test) == sorted(
            [f"street {i}_1" for i in range(8)] + list(scenes)
        )
        for fold in split:
            sides = [{scenes.get(pair.name, pair.name) for pair in side} for side in (fold.train, fold.test)]
            assert sides[0].isdisjoint(sides[1])
        assert "4 of 10 pairs share an image with another" in capsys.readouterr().out
    with pytest.raises(
        ValueError, match="folds: expected 2 to 8, as many as there are pairs of different scenes, got 9"
    ):
        open_folds(tmp_path, folds=9)


def test_copies_of_photos_stay_on_one_side_of_folds(tmp_path):
    photos = make_pairs(tmp_path, 5) / "target"
    Image.open(photos / "street 1.png").save(photos / "copy.png")
    for fold in open_folds(photos, folds=5, degradation="rain"):
        assert len({pair.name for pair in fold.test} & {"street 1", "copy"}) in (0, 2)


def test_a_comparison_of_before_copies_were_known_says_why_it_is_not_taken_up(tmp_path):
    pairs = [Pair(str(i), Path(f"{i}.png"), Path(f"{i}.png")) for i in range(4)]
    claim_pairs([Fold(pairs[:2], pairs[2:])], tmp_path)
    with pytest.raises(ValueError, match=r"the 4 pairs are divided otherwise .* choose another folder"):
        claim_pairs([Fold(pairs[1:3], [pairs[0], pairs[3]])], tmp_path)


@given(st.integers(1, 19), st.integers(0, 99))
def test_more_pairs_contain_the_fewer(count, seed):
    pairs = [Pair(str(i), Path(f"{i}.png"), Path(f"{i}.png")) for i in range(20)]
    assert set(drawn(pairs, count, seed)) < set(drawn(pairs, count + 1, seed))
    assert len(drawn(pairs, count, seed)) == count


def test_a_published_test_split_is_used_where_there_is_one(tmp_path):
    make_pairs(tmp_path / "train", 6)
    make_pairs(tmp_path / "test", 3)
    (fold,) = open_folds(tmp_path)
    assert (len(fold.train), len(fold.test)) == (6, 3)
    assert len(open_folds(tmp_path, folds=3)) == 3
    assert check_counts([], [fold]) == [6]


def test_linked_pairs_are_found_again_in_their_order(tmp_path, data):
    pairs = find_pairs(data)[::2]
    link_pairs(pairs, tmp_path / "linked")
    found = find_pairs(tmp_path / "linked")
    assert [pair.name for pair in found] == ["0000", "0001", "0002"]
    assert [pair.lq.resolve() for pair in found] == [pair.lq.resolve() for pair in pairs]
    assert [pair.gt.resolve() for pair in found] == [pair.gt.resolve() for pair in pairs]


def test_a_start_may_name_its_images():
    assert split_name("leaves-mfm") == ("leaves", "mfm", None)
    assert split_name("noise-ifp@12") == ("noise", "ifp", 12)
    assert split_name("mfm@x") == (None, "mfm@x", None)
    start = find_start("leaves-ifp", {"steps": 7}, COMMON)
    assert start.pretraining["images"] == "leaves"
    assert (start.pretraining["steps"], start.pretraining["backbone"]) == (7, "nafnet_tiny")
    assert start.pretraining["pretext_args"]["mask_ratio"] == 0.75  # from the recipe of IFP


def test_a_recipe_file_is_a_start_and_its_folder_follows_its_content(tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("pretext: ifp\nsteps: 10\n")
    first = find_start(str(recipe), {}, COMMON)
    assert first.pretraining == {"pretext": "ifp", "steps": 10, **NETWORK}
    recipe.write_text("pretext: ifp\nsteps: 20\n")
    assert find_start(str(recipe), {}, COMMON).folder != first.folder


def test_a_recipe_for_the_task_to_come_is_made_for_the_task_that_is_compared():
    found = find_arms(["gesso", "restore"], {}, {}, Common(NETWORK, {}, "dehaze"))
    assert found[1].pretraining["pretext_args"] == {"task": "dehaze"}
    assert "pretext_args" not in found[2].pretraining


def test_random_weights_are_always_compared_and_come_first(weights):
    found = find_arms(["ifp", str(weights), "ifp"], {"ifp": {"steps": 3}}, {}, COMMON)
    assert [start.name for start in found] == ["random", "ifp", str(weights)]
    assert found[0].folder == "random"
    assert found[1].pretraining["steps"] == 3
    assert found[2].pretraining is None


def test_jobs_run_side_by_side_in_processes_of_their_own(tmp_path, capsys):
    options = {"crop_size": 16, "steps": 2, "precision": "float64", **NETWORK}
    good, here = (Job(name, Pretrain(out=tmp_path / name, **options)) for name in ("good", "here"))
    bad = Job("bad", Pretrain(out=tmp_path / "bad", **options, pretext_args={"mask_ratio": 7.0}))
    failures = run_jobs([good, bad], devices=2)
    assert list(failures) == ["bad"]
    assert "mask_ratio" in failures["bad"]
    said = " ".join(capsys.readouterr().out.split())
    log = tmp_path / "bad" / "log.txt"
    assert said.count("bad failed: ") == 1
    assert f"warning: bad failed: {failures['bad']} (all that it said: {log})" in said
    assert failures["bad"] in log.read_text(encoding="utf-8")
    assert (good.done, bad.done) == (True, False)
    here.run()
    beside, in_turn = (load_file(job.folder / "backbone.safetensors") for job in (good, here))
    assert all(torch.allclose(beside[key], in_turn[key], atol=1e-8) for key in in_turn)


def test_a_job_that_fails_says_so_before_the_next_begins(tmp_path, capsys):
    wrong = {"crop_size": 16, "steps": 2, **NETWORK, "pretext_args": {"mask_ratio": 7.0}}
    run_jobs([Job(name, Pretrain(out=tmp_path / name, **wrong)) for name in ("one", "two")])
    said = capsys.readouterr().out
    places = [said.index(word) for word in ("run 1 of 2: one", "one failed: ", "run 2 of 2: two", "two failed: ")]
    assert places == sorted(places)
    assert said.count("failed: ") == 2


def test_jobs_share_the_processor_and_the_memory(monkeypatch):
    environment, alone = _jobs.environment(1, 2), local_processes()
    monkeypatch.setattr(os, "environ", environment)
    assert local_processes() == 2 * alone
    if torch.cuda.is_available():
        assert environment["CUDA_VISIBLE_DEVICES"]
    else:
        assert int(environment["OMP_NUM_THREADS"]) == max(1, torch.get_num_threads() // 2)


def test_draws_of_one_recipe_differ_in_their_seed_alone():
    found = find_arms(["ifp@0", "ifp@1"], {}, {}, COMMON)[1:]
    assert [start.pretraining.pop("seed") for start in found] == [0, 1]
    assert found[0].pretraining == found[1].pretraining


@pytest.mark.parametrize("name", sorted(path.stem for path in _discovery.ROOT.glob("recipes/compare/ifp_*.yaml")))
def test_a_table_of_ifp_is_trained_as_its_own_recipe_says(name):
    whole = yaml.safe_load(_discovery.recipe_file("compare", name).read_text())
    suffix = name.removeprefix("ifp_table1").removeprefix("ifp_table2").removeprefix("ifp_table3")
    alone = yaml.safe_load(_discovery.recipe_file("finetune", f"ifp_{whole['task']}{suffix}").read_text())
    told = {**whole, **whole["finetune_args"]}
    assert {key: told[key] for key in alone.keys() - {"init", "val_every"}} == {
        key: value for key, value in alone.items() if key not in ("init", "val_every")
    }
    assert len(whole["starts"]) == 6, "random weights and the paper's five draws"


def test_a_table_of_ifp_runs_by_one_command(tmp_path):
    """LOL as published, with both splits; a small network and two steps."""
    for split, count in (("our485", 4), ("eval15", 2)):
        for pair in find_pairs(make_pairs(tmp_path / split, count)):
            for side, path in (("low", pair.lq), ("high", pair.gt)):
                (tmp_path / f"LOL/{split}/{side}").mkdir(parents=True, exist_ok=True)
                path.rename(tmp_path / f"LOL/{split}/{side}/{path.name}")
    tiny = "--steps 2 --val_every 2 --crop_size 16 --batch_size 1 --finetune_args.precision float32"
    first = "--pretrain_args.steps 2 --pretrain_args.crop_size 16"
    words = f"compare --config ifp_table3 --starts random,ifp@0,ifp@3 {tiny} {first}".split() + SMALL_WORDS
    assert cli.main([*words, "--data", str(tmp_path / "LOL"), "--out", str(tmp_path / "out")]) == 0
    found = rows(tmp_path / "out")
    assert {row["start"] for row in found} == {"random", "ifp@0", "ifp@3"}
    primed = [load_file(path) for path in sorted((tmp_path / "out/starts").glob("*/backbone.safetensors"))]
    assert len(primed) == 2
    assert any(not torch.equal(primed[0][key], primed[1][key]) for key in primed[0]), "another draw of the noise"
    assert (tmp_path / "out/comparison.html").exists()

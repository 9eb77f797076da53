"""Runs in their folders: what they leave, how they stop, and that going on changes nothing."""

import csv
import os
import signal
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

import gesso
from gesso import checkpoint, cli
from gesso.backbones import create_backbone
from gesso.commands.finetune import Finetune
from gesso.functional.random import generator_for
from gesso.training._module import TrainingError
from gesso.training.callbacks import Samples
from gesso.training.finetune_module import FinetuneModule
from gesso.training.run import claimed
from tests._processes import forked, wait_until
from tests._runs import SMALL_NETWORK, SMALL_WORDS

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = {**SMALL_NETWORK, "precision": "float32"}
HEAD = ("ending.weight", "ending.bias")  # of the network


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Eight pairs of 40 x 48 noise pictures, `input` darker than `target`; no test changes them."""
    folder = tmp_path_factory.mktemp("pairs")
    for i in range(8):
        picture = torch.rand(3, 40, 48, generator=torch.Generator().manual_seed(i))
        for side, image in (("input", picture / 2), ("target", picture)):
            gesso.write_image(folder / side / f"{i}.png", image)
    return folder


@pytest.fixture(scope="module")
def primed(tmp_path_factory):
    """What two steps of IFP leave to start from."""
    return pretrain(tmp_path_factory.mktemp("primed"), steps=2)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, pairs):
    """What six steps of fine-tuning leave, which no test changes."""
    return finetune(tmp_path_factory.mktemp("tuned"), pairs)


def equal(one: Path, other: Path) -> bool:
    """Whether two files hold the same tensors, bit by bit."""
    a, b = load_file(one), load_file(other)
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def pretrain(out: Path, **options):
    return gesso.pretrain(
        **{"out": out, "crop_size": 32, "steps": 6, "save_every": 2, "log_every": 2, **SMALL, **options}
    )


def finetune(out: Path, data: Path, **options):
    small = {"crop_size": 16, "batch_size": 2, "steps": 6, "save_every": 2, "log_every": 2, "task": "derain"}
    return gesso.finetune(**{"out": out, "data": data, **small, **SMALL, **options})


def test_pretraining_leaves_a_file_that_carries_its_meaning(tmp_path):
    path = pretrain(tmp_path / "run")
    left = {file.name for file in (tmp_path / "run").iterdir()}
    assert {"backbone.safetensors", "config.yaml", "last.ckpt", "metrics.csv", "samples"} <= left
    assert not any(name.endswith((".part", ".tmp")) for name in left)
    header = checkpoint.read_header(path)
    assert header["pretext"] == "ifp"
    assert header["step"] == 6
    net = gesso.load(path)
    assert net.out_channels == 64
    assert [row["step"] for row in rows(tmp_path / "run")] == ["2", "4", "6"]
    assert (tmp_path / "run/samples/000006.png").exists()


def test_the_same_seed_gives_the_same_weights_and_another_seed_does_not(tmp_path):
    paths = [pretrain(tmp_path / f"run{i}", steps=3, seed=seed) for i, seed in enumerate((1, 1, 2))]
    assert equal(paths[0], paths[1])
    assert not equal(paths[0], paths[2])


def test_a_config_repeats_its_run(tmp_path):
    first = pretrain(tmp_path / "run", steps=3)
    assert cli.main(["pretrain", "--config", str(tmp_path / "run/config.yaml"), "--out", str(tmp_path / "again")]) == 0
    assert equal(first, tmp_path / "again/backbone.safetensors")


def test_workers_change_nothing(tmp_path, pairs, tuned):
    assert equal(tuned, finetune(tmp_path / "two", pairs, workers=2))


def test_killed_at_any_moment_and_resumed_a_run_ends_with_the_same_bits(tmp_path, pairs):
    words = ["finetune", "--task", "derain", "--data", str(pairs), *SMALL_WORDS, "--precision", "float32"]
    words += ["--crop_size", "16", "--batch_size", "2", "--steps", "40", "--save_every", "3", "--ema_decay", "0.9"]
    assert cli.main([*words, "--out", str(tmp_path / "unbroken")]) == 0
    out = tmp_path / "killed"
    with forked(lambda: cli.main([*words, "--out", str(out)]), tmp_path) as process:
        wait_until((out / "last.ckpt").exists, process)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert cli.main([*words, "--out", str(out), "--resume"]) == 0
    assert equal(tmp_path / "unbroken/backbone.safetensors", out / "backbone.safetensors")
    assert [row["step"] for row in rows(out)] == [row["step"] for row in rows(tmp_path / "unbroken")]


def test_ctrl_c_saves_the_state_and_exits_with_130(tmp_path):
    words = ["pretrain", *SMALL_WORDS, "--crop_size", "32", "--steps", "100000", "--save_every", "2"]
    with forked(lambda: cli.main([*words, "--out", str(tmp_path / "run")]), tmp_path) as process:
        wait_until((tmp_path / "run/last.ckpt").exists, process)
        process.send_signal(signal.SIGINT)
        assert process.wait() == cli.INTERRUPTED
    assert "give the same command again with --resume to continue" in " ".join(process.said().split())
    assert checkpoint.read_header(tmp_path / "run/backbone.safetensors")["step"] > 0


@pytest.mark.parametrize(("number", "step"), [(signal.SIGINT, 3), (signal.SIGTERM, 4)])  # 4 is measured first
def test_a_stopped_run_goes_on_where_it_stood(tmp_path, pairs, number, step, monkeypatch):
    unbroken = finetune(tmp_path / "unbroken", pairs, save_every=0, val_every=2, log_every=1)
    draw = Samples.on_train_batch_end

    def ask_to_stop(self, trainer, module, *args):
        draw(self, trainer, module, *args)
        if module.step == step:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Samples, "on_train_batch_end", ask_to_stop)
    with pytest.raises(KeyboardInterrupt):
        finetune(tmp_path / "run", pairs, save_every=0, val_every=2, log_every=1)
    assert not (tmp_path / "run" / "hparams.yaml").exists()
    monkeypatch.undo()
    path = finetune(tmp_path / "run", pairs, save_every=0, val_every=2, log_every=1, resume=True)
    assert equal(unbroken, path)
    steps = [[row["step"] for row in rows(tmp_path / name)] for name in ("unbroken", "run")]
    assert steps[0] == steps[1]
    images = [(tmp_path / name / "images.csv").read_text() for name in ("unbroken", "run")]
    assert images[0] == images[1]


def test_a_finished_run_is_neither_overwritten_nor_resumed_with_another_recipe(tmp_path):
    pretrain(tmp_path / "run", steps=2)
    with pytest.raises(ValueError, match="already contains a run"):
        pretrain(tmp_path / "run", steps=2)
    with pytest.raises(ValueError, match=r"lr: was 0.0002, is 0.1"):
        pretrain(tmp_path / "run", steps=2, lr=0.1, resume=True)
    pretrain(tmp_path / "run", steps=2, lr=0.1, overwrite=True)


def test_two_runs_do_not_share_a_folder(tmp_path):
    def second() -> int:
        with claimed(tmp_path):
            return 0

    def refused() -> int:
        with pytest.raises(ValueError, match="another run is writing here"):
            second()
        return 3

    with claimed(tmp_path), forked(refused, tmp_path) as process:
        assert process.wait() == 3
    with forked(second, tmp_path) as process:
        assert process.wait() == 0


def test_accumulated_small_batches_equal_one_large_batch(tmp_path, pairs):
    options = {"steps": 2, "optimizer": "adamw", "weight_decay": 0.0, "precision": "float64"}
    whole = load_file(finetune(tmp_path / "whole", pairs, batch_size=4, **options))
    parts = load_file(finetune(tmp_path / "parts", pairs, batch_size=2, accumulate=2, **options))
    assert max((whole[key] - parts[key]).abs().max().item() for key in whole) < 1e-6


def test_finetuning_starts_from_the_identity_and_reports_what_it_loaded(tmp_path, pairs, primed, capsys):
    finetune(tmp_path / "run", pairs, init=str(primed), lr=1e-12, steps=1)
    said = capsys.readouterr().out
    assert "relearned 2: ending.weight, ending.bias" in said
    assert "the unrestored validation input has" in said
    restored = gesso.Restorer.load(tmp_path / "run/backbone.safetensors", precision="float32")
    image = torch.rand(3, 40, 48)
    assert torch.allclose(restored(image), image, atol=1e-5)


def test_the_papers_transfer_keeps_64_channels_and_no_residual(tmp_path, pairs, primed):
    path = finetune(tmp_path / "run", pairs, init=str(primed), transfer="paper", lr=1e-12, steps=1)
    before, after = load_file(primed), load_file(path)
    assert torch.allclose(after["backbone.ending.weight"], before["ending.weight"])
    assert after["conv_last.weight"].shape == (3, 64, 3, 3)
    assert gesso.load(path).image_residual is False


def test_frozen_features_stay_as_they_are(tmp_path, pairs, primed):
    path = finetune(tmp_path / "run", pairs, init=str(primed), freeze_features=True, lr=1e-2)
    before, after = load_file(primed), load_file(path)
    assert all(torch.equal(before[key], after[key]) for key in before if key not in HEAD)
    assert after["ending.weight"].abs().max() > 0


def test_frozen_features_are_seen_as_they_are(tmp_path):
    """Without the branches that stochastic depth leaves out in training."""
    net = create_backbone("uformer_tiny", drop_path_rate=0.5)
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(net.is_head(name))
        torch.nn.init.normal_(parameter, std=0.1)
    size = {"crop_size": 32, "batch_size": 2}
    command = Finetune(out=tmp_path, task="derain", steps=1, lr=1e-3, warmup_steps=0, val_every=0, **size)
    module = FinetuneModule(net, torch.nn.functional.l1_loss, [], command).train()
    images = torch.rand(2, 3, 32, 32)
    losses = {module.losses({"lq": images, "gt": images}, generator_for(0))["loss"].item() for _ in range(3)}
    assert len(losses) == 1


def test_features_may_learn_more_slowly_than_the_head(tmp_path, pairs, primed):
    path = finetune(tmp_path / "run", pairs, init=str(primed), features_lr=1e-9, lr=1e-2, weight_decay=0.0)
    before, after = load_file(primed), load_file(path)
    assert all(torch.allclose(before[key], after[key], atol=1e-8) for key in before if key not in HEAD)
    assert after["ending.weight"].abs().max() > 1e-3


@pytest.mark.parametrize("decay_norm_bias", [True, False])
def test_biases_and_norms_decay_unless_they_are_spared(tmp_path, pairs, decay_norm_bias):
    primed = pretrain(tmp_path / "primed", steps=1, lr=1e-9)
    options = {
        "optimizer": "adamw",
        "lr": 1e-3,
        "weight_decay": 500.0,
        "decay_norm_bias": decay_norm_bias,
    }  # halves weights
    before, after = load_file(primed), load_file(pretrain(tmp_path / "run", steps=1, init=primed, **options))
    for key in before.keys() - set(HEAD):
        expected = before[key] / 2 if decay_norm_bias or before[key].ndim > 1 else before[key]
        assert torch.allclose(after[key], expected, atol=1.1e-3), key


def test_a_run_leaves_its_files_in_its_folder_and_nothing_else(tmp_path, pairs, monkeypatch):
    """Lightning would take `~` for the home folder, and leave a file of its own behind the last measurement."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    finetune(Path("~/run"), pairs, steps=2, val_every=4)
    left = {path.name for path in (tmp_path / "~" / "run").iterdir() if not path.name.startswith((".", "events"))}
    files = {"config.yaml", "backbone.safetensors", "best.safetensors", "last.ckpt", "metrics.csv", "images.csv"}
    assert left == {*files, "samples"}
    assert not (tmp_path / "home").exists()


def test_finetuning_learns_and_keeps_its_best(tmp_path, pairs):
    finetune(tmp_path / "run", pairs, steps=60, val_every=20, lr=3e-3, holdout=2)
    scores = [float(row["derain/psnr"]) for row in rows(tmp_path / "run") if row["derain/psnr"]]
    assert len(scores) == 3
    assert scores[-1] > scores[0]
    best = checkpoint.read_header(tmp_path / "run/best.safetensors")
    assert best["validation_psnr"] == pytest.approx(max(scores), abs=1e-3)


def test_stages_run_through(tmp_path, pairs):
    stages = [{"share": 0.5, "crop_size": 16, "batch_size": 2}, {"share": 0.5, "crop_size": 24, "batch_size": 1}]
    assert finetune(tmp_path / "run", pairs, stages=stages).exists()


def test_clean_photos_are_degraded_on_the_fly(tmp_path, pairs, capsys):
    finetune(tmp_path / "run", pairs / "target", degradation={"name": "gaussian_noise", "sigma": 25}, task="denoise")
    assert "GaussianNoise(sigma=25" in capsys.readouterr().out


def test_ten_steps_in_a_row_without_a_finite_loss_end_the_run(tmp_path, pairs, monkeypatch):
    losses = FinetuneModule.losses

    def explode(module, *args):
        factor = float("nan") if module.step > 3 else 1.0
        return {name: factor * loss for name, loss in losses(module, *args).items()}

    monkeypatch.setattr(FinetuneModule, "losses", explode)
    with pytest.raises(TrainingError, match=r"10 steps in a row.*samples: "):
        finetune(tmp_path / "run", pairs, steps=60, save_every=1)
    state = load_file(tmp_path / "run/backbone.safetensors")
    assert state.keys()
    assert "sample,skipped steps" in (tmp_path / "run/skipped.csv").read_text()


def test_an_output_no_better_than_the_input_is_said(tmp_path, pairs, capsys):
    finetune(tmp_path / "run", pairs, lr=1e-12, steps=1)
    assert "no better than their inputs" in capsys.readouterr().out


def test_too_large_a_holdout_is_refused(tmp_path, pairs):
    with pytest.raises(ValueError, match="holdout: expected less than the 8"):
        finetune(tmp_path / "run", pairs, holdout=8)


def test_an_unwritable_folder_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    assert cli.main(["pretrain", *SMALL_WORDS, "--out", str(tmp_path / "file/run"), "--steps", "1"]) == cli.BAD_INPUT


def test_all_in_one_measures_every_part_by_its_own_protocol(tmp_path, pairs, capsys):
    mix = [
        {"task": "derain", "data": str(pairs), "repeats": 2},
        {"task": "denoise", "data": str(pairs / "target"), "degradation": "gaussian_noise"},
    ]
    gesso.finetune(out=tmp_path / "run", task="all-in-one", mix=mix, steps=4, crop_size=16, batch_size=2, **SMALL)
    last = rows(tmp_path / "run")[-1]
    assert float(last["derain/psnr"]) > 0
    assert float(last["denoise/psnr"]) > 0
    said = capsys.readouterr().out
    assert "on Y rounded" in said
    assert "on RGB" in said


def test_a_part_of_a_mix_that_is_missing_is_named(tmp_path, pairs):
    mix = [{"task": "derain", "data": str(pairs)}, {"task": "dehaze", "data": str(tmp_path / "nowhere")}]
    with pytest.raises(ValueError, match=r"mix part dehaze: .*nowhere"):
        gesso.finetune(out=tmp_path / "run", task="all-in-one", mix=mix, **SMALL)


def test_dcpt_trains_on_class_folders(tmp_path, pairs):
    images = [
        {"task": "derain", "data": str(pairs), "holdout": 0},
        {"task": "denoise", "data": str(pairs / "target"), "degradation": "gaussian_noise", "holdout": 0},
    ]
    two = {"degradations": ["rain", "gaussian_noise"]}
    assert pretrain(tmp_path / "run", pretext="dcpt", pretext_args=two, images=images, batch_size=2).exists()
    with pytest.raises(ValueError, match="classes"):
        pretrain(tmp_path / "other", pretext="dcpt", pretext_args={}, images=[*images, images[0] | {"name": "third"}])


def test_a_network_goes_on_learning_under_a_critic(tmp_path, pairs, tuned):
    """DC-guided training: a classifier of a frozen network's features, then a second loss for that network."""
    source = tuned
    options = {"freeze_backbone": True, "degradations": ["rain", "gaussian_noise", "haze"]}
    probed = pretrain(tmp_path / "critic", pretext="dcpt", pretext_args=options, init=source, steps=3)
    before, after = load_file(source), load_file(probed)
    assert all(torch.equal(before[key], after[key]) for key in before)
    classifier = tmp_path / "critic/classifier.safetensors"
    guided = {"init": str(source), "keep_last": True, "critic": classifier, "critic_target": 1, "task": "denoise"}
    noise = {"data": pairs / "target", "degradation": "gaussian_noise"}
    path = gesso.finetune(out=tmp_path / "guided", **guided, **noise, crop_size=16, steps=4, log_every=2, **SMALL)
    assert not equal(source, path)
    assert float(rows(tmp_path / "guided")[0]["train/critic"]) > 0
    with pytest.raises(ValueError, match="classes 0 to 2"):
        gesso.finetune(out=tmp_path / "other", **(guided | {"critic_target": 3}), **noise, **SMALL)


def test_a_run_goes_on_with_options_that_did_not_exist_when_it_began(tmp_path, pairs):
    finetune(tmp_path / "run", pairs, steps=2)
    config = tmp_path / "run/config.yaml"
    config.write_text("".join(line for line in config.open() if not line.startswith("shrink:")))
    assert "shrink" not in yaml.safe_load(config.read_text())
    finetune(tmp_path / "run", pairs, steps=2, resume=True)
    with pytest.raises(ValueError, match=r"recipe differs from .* \(shrink: was 1.0, is 0.5\)"):
        finetune(tmp_path / "run", pairs, steps=2, resume=True, shrink=0.5)


def test_a_run_is_not_taken_up_by_another_verb(tmp_path, pairs):
    finetune(tmp_path / "run", pairs, steps=2)
    with pytest.raises(ValueError, match="holds a run of another kind"):
        pretrain(tmp_path / "run", resume=True)


def test_dcpt_takes_turns_by_steps_not_by_their_parts(tmp_path):
    """In the first step only the network learns, however many batches it is made of."""
    options = {"pretext": "dcpt", "pretext_args": {"mode": "alternate"}, "steps": 1}
    for accumulate in (1, 2):
        pretrain(tmp_path / f"{accumulate}", accumulate=accumulate, **options)
    assert equal(*(tmp_path / name / "classifier.safetensors" for name in "12"))
    assert not equal(*(tmp_path / name / "backbone.safetensors" for name in "12"))


def test_options_that_came_later_do_not_keep_a_run_from_going_on(tmp_path, pairs):
    """A recipe written before an option existed means its default; the command line always gives every option."""
    words = ["finetune", "--task", "derain", "--data", str(pairs), "--out", str(tmp_path / "run"), *SMALL_WORDS]
    words += ["--crop_size", "16", "--batch_size", "2", "--steps", "2", "--precision", "float32"]
    assert cli.main(words) == 0
    config = tmp_path / "run/config.yaml"
    later = ("gamma", "milestones", "decay_norm_bias", "snapshot_every", "warmup_steps", "shrink")
    first_line, rest = config.read_text().split("\n", 1)
    kept = {name: value for name, value in yaml.safe_load(rest).items() if name not in later}
    config.write_text(f"{first_line}\n{yaml.safe_dump(kept)}")
    assert cli.main([*words, "--resume"]) == 0
    assert cli.main([*words, "--resume", "--gamma", "0.4"]) == cli.BAD_INPUT


def test_snapshots_are_the_networks_on_the_way(tmp_path, capsys):
    """Each is what a run of so many steps ends with, and a run that replaces another leaves none of its own behind."""
    whole = pretrain(tmp_path / "run", steps=5, snapshot_every=2)
    kept = sorted((tmp_path / "run/snapshots").iterdir())
    assert [path.name for path in kept] == ["2.safetensors", "4.safetensors"]
    assert equal(pretrain(tmp_path / "short", steps=4), kept[1])
    assert checkpoint.read_header(kept[0])["step"] == 2
    assert not equal(whole, kept[1])
    pretrain(tmp_path / "run", steps=2, snapshot_every=1, overwrite=True)
    assert sorted(path.name for path in (tmp_path / "run/snapshots").iterdir()) == ["1.safetensors", "2.safetensors"]
    pretrain(tmp_path / "run", steps=2, snapshot_every=0, resume=True)  # it changes no result


def test_whole_validation_images_are_written_at_every_measurement(tmp_path, pairs):
    """Two of the three held out: input, restored, truth at full size, of each step that is measured."""
    finetune(tmp_path / "run", pairs, steps=4, val_every=2, holdout=3, val_images=2)
    found = sorted(
        path.relative_to(tmp_path / "run/val_images").as_posix() for path in tmp_path.rglob("val_images/**/*.png")
    )
    assert found == [f"00000{step}/derain/000{number}.png" for step in (2, 4) for number in (0, 1)]
    picture = gesso.read_image(tmp_path / "run/val_images/000004/derain/0000.png")
    whole = gesso.read_image(next((pairs / "target").iterdir()))
    assert picture.shape[-1] >= 3 * whole.shape[-1]
    assert not (finetune(tmp_path / "none", pairs, val_every=2).parent / "val_images").exists()

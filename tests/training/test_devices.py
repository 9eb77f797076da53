"""One process or several: the same weights, the same numbers, and one error if one of them fails."""

import csv
import sys
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from gesso import checkpoint, cli
from tests._processes import HANGS, forked, owned_processes, wait_until
from tests._runs import SMALL_WORDS
from tests.training._shared_jobs import TRAININGS, begin, prepare, run_all

# Gradients are sums in another order, so that weights differ by the rounding of 64-bit numbers: by 1e-15 to 3e-12 here.
TOLERANCE = 1e-10


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of all jobs: of one process in `one`; of two, which torchrun starts, in `two`."""
    folder = tmp_path_factory.mktemp("runs")
    prepare(folder)
    begin(folder, folder / "begun_by_one")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"]
    with owned_processes() as start:
        two = start([*command, "tests.training._shared_jobs", str(folder)])
        run_all(folder, folder / "one")
        assert two.wait(timeout=HANGS) == 0
    TRAININGS["finetune"](folder, folder / "begun_by_two", resume=True)
    return folder


def distance(one: Path, other: Path) -> float:
    a, b = load_file(one), load_file(other)
    assert a.keys() == b.keys()
    return max((a[key] - b[key]).abs().max().item() for key in a)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", TRAININGS)
def test_two_processes_train_the_weights_of_one(runs, name):
    one, two = runs / "one" / name, runs / "two" / name
    assert distance(one / "backbone.safetensors", two / "backbone.safetensors") < TOLERANCE
    for alone, shared in zip(table(one / "metrics.csv"), table(two / "metrics.csv"), strict=True):
        numbers = {key: float(value) for key, value in alone.items() if value and key != "validation_seconds"}
        assert {key: float(shared[key]) for key in numbers} == pytest.approx(numbers, rel=1e-5)


def test_two_processes_measure_every_image_once(runs):
    one, two = (runs / who / "evaluated" for who in ("one", "two"))
    assert len(table(one / "scores.csv")) == 7
    assert (one / "scores.csv").read_text() == (two / "scores.csv").read_text()
    assert (runs / "one/finetune/images.csv").read_text() == (runs / "two/finetune/images.csv").read_text()


def test_two_processes_show_the_prior_every_image_once(runs):
    whole, first, second = (
        (runs / who / "refine_by_images" / f"looked_at_{rank}").read_text().split()
        for who, rank in (("one", 0), ("two", 0), ("two", 1))
    )
    assert sorted(first + second) == sorted(whole)
    assert len(first) == len(second) == 3
    kept = [load_file(next((runs / who / "refine_by_images").glob("prior_*"))) for who in ("one", "two")]
    assert kept[0].keys() == kept[1].keys()
    assert all(torch.equal(kept[0][name], kept[1][name]) for name in kept[0])


def test_two_processes_leave_the_files_of_one(runs):
    one, two = (runs / who / "finetune" for who in ("one", "two"))
    assert (one / "images.csv").read_text() == (two / "images.csv").read_text()
    assert distance(one / "best.safetensors", two / "best.safetensors") < TOLERANCE
    assert {path.name for path in (two / "samples").iterdir()} == {"000001.png", "000002.png"}
    headers = [checkpoint.read_header(out / "backbone.safetensors") for out in (one, two)]
    assert headers[0]["backbone"] == headers[1]["backbone"] == "NAFNet"
    states = [torch.load(out / "last.ckpt", weights_only=True) for out in (one, two)]
    assert states[0].keys() == states[1].keys()
    assert all(type(tensor) is torch.Tensor for tensor in states[1]["state_dict"].values())


@pytest.mark.parametrize("name", ["begun_by_one", "begun_by_two"])
def test_a_run_goes_on_with_another_number_of_devices(runs, name):
    assert distance(runs / "one/finetune/backbone.safetensors", runs / name / "backbone.safetensors") < TOLERANCE
    assert table(runs / name / "images.csv")[-3:] == table(runs / "one/finetune/images.csv")[-3:]


def test_two_processes_restore_every_image(runs):
    one, two = ({p.name: p.read_bytes() for p in (runs / who / "restored").iterdir()} for who in ("one", "two"))
    assert len(one) == 7
    assert one == two


def test_a_run_on_two_devices_that_one_leaves_goes_on_with_one(tmp_path, one_thread):
    words = [
        "pretrain",
        *SMALL_WORDS,
        "--precision",
        "float64",
        "--accelerator",
        "cpu",
        "--crop_size",
        "24",
        "--batch_size",
        "2",
    ]
    words += ["--steps", "12", "--save_every", "2", "--log_every", "1"]
    out = tmp_path / "run"
    with forked(lambda: cli.main([*words, "--out", str(out), "--devices", "2"]), tmp_path) as process:
        wait_until((out / "last.ckpt").exists, process)
        psutil.Process(process.pid).children()[-1].kill()
        assert process.wait() == 1
    assert "gesso pretrain: the process of device 1 was killed by signal 9 (SIGKILL)" in process.said("stderr")
    assert cli.main([*words, "--out", str(out), "--resume"]) == 0
    assert cli.main([*words, "--out", str(tmp_path / "unbroken")]) == 0
    assert distance(out / "backbone.safetensors", tmp_path / "unbroken/backbone.safetensors") < TOLERANCE
    assert [row["step"] for row in table(out / "metrics.csv")] == [str(step) for step in range(1, 13)]


def test_two_devices_agree_on_one_plan_and_a_dry_run_leaves_nothing(tmp_path, capfd):
    """What a step takes is measured together, so that the process group is up before the run is."""
    words = ["pretrain", "--backbone", "restormer_tiny", "--backbone_args", "{dim: 8, num_blocks: [1, 1, 1, 1]}"]
    words += ["--accelerator", "cpu", "--crop_size", "24", "--batch_size", "2", "--budget", "2h", "--devices", "2"]
    assert cli.main([*words, "--out", str(tmp_path / "run"), "--dry_run"]) == 0
    said = "".join(capfd.readouterr())
    assert said.count("the whole") == said.count("budget 2h: --steps ") == 1
    assert "written to" not in said
    assert not (tmp_path / "run/config.yaml").exists()

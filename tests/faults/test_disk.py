"""What happens when files cannot be written, cannot be read, or change while a command runs."""

import contextlib
import resource
from pathlib import Path

import pytest
import torch

import gesso
from gesso import cli
from gesso.backbones import create_backbone
from gesso.data.datasets import ImageDataset
from gesso.training.run import claimed

SMALL = ["--backbone", "restormer_tiny", "--backbone_args", "{dim: 8, num_blocks: [1, 1, 1, 1]}"]
SMALL += ["--precision", "float32", "--crop_size", "16", "--save_every", "2", "--log_every", "1"]


@contextlib.contextmanager
def full_disk(most: int):
    """No file may grow beyond `most` bytes, which looks like a full disk to whoever writes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def photos(tmp_path) -> Path:
    for number in range(4):
        picture = torch.rand(3, 40, 48, generator=torch.Generator().manual_seed(number))
        gesso.write_image(tmp_path / "photos" / f"{number}.png", picture)
    return tmp_path / "photos"


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    net = create_backbone("nafnet_tiny", width=4)
    gesso.save(net, tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != ".lock"}


def pretrain(out: Path, *more: str) -> int:
    return cli.main(["pretrain", "--out", str(out), *SMALL, "--steps", "4", *more])


# ----------------------------------------------------------------------------------------------------- full disks


def test_a_run_on_a_full_disk_ends_in_one_line_and_goes_on_when_there_is_room(tmp_path, capsys):
    assert pretrain(tmp_path / "whole") == 0
    with full_disk(30_000):
        assert pretrain(tmp_path / "run") == 2
    assert "could not write" in capsys.readouterr().err
    assert not [path for path in (tmp_path / "run").iterdir() if "part" in path.name or ".tmp" in path.name]
    assert pretrain(tmp_path / "run", "--resume") == 0
    both = [gesso.load(tmp_path / name / "backbone.safetensors").state_dict() for name in ("whole", "run")]
    assert all(torch.equal(tensor, both[1][key]) for key, tensor in both[0].items())


def test_a_full_disk_damages_no_weights_that_stand_there(checkpoint, capsys):
    before = checkpoint.read_bytes()
    with full_disk(1000), pytest.raises(OSError, match=r"could not write .*net\.safetensors"):
        gesso.save(create_backbone("nafnet_tiny", width=4), checkpoint)
    assert checkpoint.read_bytes() == before
    assert len(list(checkpoint.parent.iterdir())) == 1


def test_an_export_to_a_full_disk_says_so(tmp_path, checkpoint, capsys):
    with full_disk(1000):
        assert cli.main(["export", str(checkpoint), str(tmp_path / "out" / "net.pth"), "--format", "basicsr"]) == 2
    assert "could not write" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())


def test_restoring_to_a_full_disk_says_so_and_keeps_what_is_there(tmp_path, checkpoint, photos, capsys):
    words = ["restore", str(photos), str(tmp_path / "out"), "--checkpoint", str(checkpoint)]
    assert cli.main(words) == 0
    before = contents(tmp_path / "out")
    with full_disk(1000):
        assert cli.main([*words, "--overwrite"]) in (1, 2)
    assert "could not write" in "".join(capsys.readouterr())
    assert contents(tmp_path / "out") == before


# ------------------------------------------------------------------------------------------- places and read errors


@pytest.mark.parametrize("place", ["/proc/gesso", "FILE/run"])
def test_a_place_where_nothing_can_be_written_is_named(tmp_path, place, capsys):
    (tmp_path / "file").write_text("in the way")
    out = place.replace("FILE", str(tmp_path / "file"))
    assert pretrain(Path(out)) == 2
    assert out in capsys.readouterr().err


def test_a_damaged_photo_ends_a_run_in_one_line_that_names_it(tmp_path, photos, capsys):
    data = (photos / "2.png").read_bytes()
    (photos / "2.png").write_bytes(data[:-100])
    assert pretrain(tmp_path / "run", "--pretext", "mfm", "--images", str(photos)) == 2
    assert "2.png: the PNG file is cut short or damaged" in capsys.readouterr().err


def test_a_photo_that_disappears_during_a_run_is_named(photos):
    dataset = ImageDataset(sorted(photos.iterdir()), seed=0, budget=0)
    assert dataset[(0, 16)]["image"].shape == (3, 16, 16)
    (photos / "1.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1\.png"):
        [dataset[(index, 16)] for index in range(4)]


def test_one_damaged_photo_of_a_folder_does_not_keep_the_others_from_being_restored(
    tmp_path, checkpoint, photos, capsys
):
    (photos / "1.png").write_bytes(b"no picture")
    words = ["restore", str(photos), str(tmp_path / "out"), "--checkpoint", str(checkpoint)]
    assert cli.main(words) == 1
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == ["0.png", "2.png", "3.png"]
    assert "1.png" in "".join(capsys.readouterr())


def test_a_damaged_state_is_not_gone_on_with(tmp_path, capsys):
    assert pretrain(tmp_path / "run") == 0
    state = tmp_path / "run" / "last.ckpt"
    state.write_bytes(state.read_bytes()[:-1000])
    assert pretrain(tmp_path / "run", "--resume") == 2
    assert "last.ckpt: not a checkpoint, truncated or damaged" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------- two in one folder


@pytest.mark.parametrize("verb", ["pretrain", "finetune", "refine", "compare"])
def test_a_second_run_in_a_folder_is_refused(tmp_path, photos, checkpoint, verb, capsys):
    words = {
        "pretrain": [],
        "finetune": ["--task", "denoise", "--data", str(photos)],
        "refine": ["--task", "denoise", "--data", str(photos), "--checkpoint", str(checkpoint), "--prior", "none"],
        "compare": ["--task", "denoise", "--data", str(photos), "--steps", "2"],
    }[verb]
    with claimed(tmp_path / "run"):
        before = contents(tmp_path / "run")
        assert cli.main([verb, *words, "--out", str(tmp_path / "run")]) == cli.BAD_INPUT
        assert "another run is writing here" in capsys.readouterr().err
        assert contents(tmp_path / "run") == before


def test_what_a_killed_run_was_writing_is_swept_away(tmp_path):
    for name in ("last.ckpt.part", ".backbone.1234abcd.tmp.safetensors"):
        (tmp_path / name).write_text("half")
    with claimed(tmp_path):
        assert not contents(tmp_path)

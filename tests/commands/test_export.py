import pytest
import torch

from gesso.backbones import create_backbone
from gesso.commands.export import export


def test_a_file_is_written_in_the_form_of_the_authors(tmp_path, capsys):
    net = create_backbone("restormer_tiny", dim=8, num_blocks=(1, 1, 1, 1))
    torch.save({"params": net.state_dict()}, tmp_path / "in.pth")
    assert export(tmp_path / "in.pth", tmp_path / "out.pth", format="basicsr") == [tmp_path / "out.pth"]
    assert set(torch.load(tmp_path / "out.pth", weights_only=True)) == {"params", "params_ema"}
    assert "Restormer" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", [".safetensors", ".onnx"])
def test_what_a_suffix_says_is_not_belied(tmp_path, suffix):
    torch.save(create_backbone("restormer_tiny", dim=8).state_dict(), tmp_path / "in.pth")
    out = tmp_path / f"out{suffix}"
    out.write_text("precious")
    with pytest.raises(
        ValueError,
        match=rf"named as {suffix[1:]}, and format official does not use this suffix; give it another",
    ):
        export(tmp_path / "in.pth", out, overwrite=True)
    assert out.read_text() == "precious"


def test_a_file_in_the_way_stays(tmp_path):
    torch.save(create_backbone("restormer_tiny", dim=8).state_dict(), tmp_path / "in.pth")
    for name in ("out.pth", "out_De1.pth"):
        (tmp_path / name).write_text("precious")
    with pytest.raises(FileExistsError, match=r"out_De1\.pth"):
        export(tmp_path / "in.pth", tmp_path / "out.pth", format="degae")
    with pytest.raises(FileExistsError, match=r"out\.pth"):
        export(tmp_path / "in.pth", tmp_path / "out.pth")
    assert (tmp_path / "out.pth").read_text() == "precious"
    export(tmp_path / "in.pth", tmp_path / "out.pth", overwrite=True)
    assert (tmp_path / "out.pth").read_bytes() != b"precious"

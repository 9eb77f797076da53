import json
import re

import pytest
import torch
import yaml

from gesso import Restorer, _discovery, checkpoint, read_image, write_image
from gesso.backbones import create_backbone
from gesso.checkpoint.graph import IS_OLD
from gesso.commands.export import export
from tests._runs import NAFNET


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


@pytest.mark.parametrize(
    ("format", "suffix"),
    [("official", ".pth"), ("basicsr", ".pth"), ("encoder", ".pth"), ("safetensors", ".safetensors")],
)
def test_a_name_without_a_suffix_gets_that_of_its_format(tmp_path, capsys, format, suffix):
    torch.save(create_backbone("restormer_tiny", dim=8, num_blocks=(1, 1, 1, 1)).state_dict(), tmp_path / "in.pth")
    assert export(tmp_path / "in.pth", tmp_path / "ex", format=format) == [tmp_path / f"ex{suffix}"]
    assert f"{tmp_path / 'ex'}{suffix}" in capsys.readouterr().out.replace("\n", "")
    with pytest.raises(FileExistsError, match=re.escape(f"ex{suffix} exists already")):
        export(tmp_path / "in.pth", tmp_path / "ex", format=format)


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


ENTRY = {"name", "author", "license", "tags", "description", "date", "architecture", "size", "scale", "inputChannels"}
ENTRY |= {"outputChannels", "resources", "images"}


def test_a_card_and_an_entry_say_what_is_known(tmp_path):
    """The form of OpenModelDB: its required fields, its identifiers, the sum of the file."""
    facts = {"task": "denoise", "init": "random", "step": 300, "validation_psnr": 31.5}
    checkpoint.save(create_backbone("nafnet_tiny", **NAFNET), tmp_path / "run/best.safetensors", **facts)
    (tmp_path / "run/config.yaml").write_text("task: denoise\nbatch_size: 4\ncrop_size: 64\ndata: my_pairs\n")
    told = {"license": "MIT", "author": "ada", "name": "grain_off v2"}
    files = export(tmp_path / "run/best.safetensors", tmp_path / "net.pth", card=tmp_path / "cards", card_facts=told)
    assert [path.name for path in files] == ["net.pth", "README.md", "1x-grain-off-v2.json"]

    entry = json.loads(files[2].read_text())
    assert entry.keys() >= ENTRY
    assert re.fullmatch(r"\d+x-[a-zA-Z0-9]+(?:-[a-zA-Z0-9]+)*", files[2].stem)
    assert (entry["name"], entry["author"], entry["license"]) == ("grain_off v2", "ada", "MIT")
    assert (entry["scale"], entry["inputChannels"], entry["outputChannels"]) == (1, 3, 3)
    assert (entry["architecture"], entry["tags"]) == ("nafnet", ["denoise", "photo", "restoration"])
    assert (entry["trainingIterations"], entry["trainingBatchSize"], entry["trainingHRSize"]) == (300, 4, 64)
    (resource,) = entry["resources"]
    assert (resource["platform"], resource["type"], resource["urls"]) == ("pytorch", "pth", [])
    assert resource["size"] == files[0].stat().st_size
    assert re.fullmatch("[0-9a-f]{64}", resource["sha256"])

    card = files[1].read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert (front["license"], front["pipeline_tag"]) == ("mit", "image-to-image")
    for heading in ("Model details", "Uses", "How to get started", "Training details", "Evaluation"):
        assert f"## {heading}\n" in card
    assert "psnr (validation): 31.5" in card
    assert resource["sha256"] in card


OWN = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.down = nn.Conv2d(3, width, 2, 2)
        self.up = nn.ConvTranspose2d(width, width, 2, 2)
        self.last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, image):
        return self.last(torch.relu(self.up(torch.relu(self.down(image)))))
"""


def test_a_network_of_which_there_is_no_graph_is_refused_and_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match=r"SwinIR does not export to pt2 for images of any size.*take format onnx"):
        checkpoint.export(create_backbone("swinir_tiny", depths=[1], num_heads=[2]), tmp_path / "a.pt2", "pt2")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("network", ["nafnet_tiny", "swinir_tiny_x2", "uformer_tiny", "own_of_card:Net"])
@pytest.mark.parametrize(
    ("name", "format"), [("a.pth", "official"), ("a.safetensors", "safetensors"), ("a.pt2", "pt2"), ("a.onnx", "onnx")]
)
def test_what_a_card_says_to_start_with_restores_a_photo(tmp_path, monkeypatch, network, name, format):
    if format == "pt2" and network in ("swinir_tiny_x2", "uformer_tiny"):
        pytest.skip("PyTorch makes no such graph of windows")
    if IS_OLD and format == "onnx" and ":" not in network:
        pytest.skip("PyTorch 2.6 makes no such graph, or takes hours for it")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_of_card.py").write_text(OWN, encoding="utf-8")
    torch.manual_seed(0)
    net = create_backbone(network, **({"width": 6} if ":" in network else NAFNET if "nafnet" in network else {}))
    checkpoint.save(net, tmp_path / "in.safetensors", task="denoise")
    told = {"target": network} if ":" in network else None
    export(tmp_path / "in.safetensors", tmp_path / name, format=format, card=tmp_path, backbone_args=told)
    write_image(tmp_path / "photo.png", torch.rand(3, 45, 70))
    code = (tmp_path / "README.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    exec(code, {})
    scale = 2 if "x2" in network else 1
    restored = Restorer(net)(read_image(tmp_path / "photo.png"))
    assert restored.shape[1:] == (45 * scale, 70 * scale)
    difference = (read_image(tmp_path / "restored.png") - restored).abs()
    pads_likewise = format in ("official", "safetensors") or network not in ("swinir_tiny_x2", "uformer_tiny")
    assert difference.max() < 2 / 255 if pads_likewise else difference.mean() < 0.05  # whose authors pad on all sides


def test_cards_are_written_of_foreign_files_and_never_over_others(tmp_path):
    torch.save(create_backbone("nafnet_tiny", **NAFNET).state_dict(), tmp_path / "in.pth")
    (tmp_path / "README.md").write_text("precious")
    with pytest.raises(FileExistsError, match=r"README\.md"):
        export(tmp_path / "in.pth", tmp_path / "out.pth", card=tmp_path)
    assert not (tmp_path / "out.pth").exists()
    with pytest.raises(_discovery.UnknownNameError, match=r"did you mean license\?"):
        export(tmp_path / "in.pth", tmp_path / "out.pth", card=tmp_path / "cards", card_facts={"licence": "MIT"})
    files = export(tmp_path / "in.pth", tmp_path / "out.pth", card=tmp_path / "cards")
    assert json.loads(files[2].read_text())["license"] is None
    assert (tmp_path / "README.md").read_text() == "precious"

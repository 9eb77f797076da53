"""Networks as graphs: `.pt2` of torch.export and ONNX, of ours and of modules that are wrapped."""

import contextlib
import json
import subprocess
import sys

import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import gesso
from gesso.backbones import create_backbone
from gesso.backbones.external import wrap
from gesso.checkpoint import CheckpointError, export, graph
from gesso.checkpoint.graph import IS_OLD
from tests._networks import convolutional
from tests._runs import NAFNET


class UNet(nn.Module):
    """A small U-Net as people write them; its sides have to be even."""

    def __init__(self, pads: bool = False) -> None:
        super().__init__()
        self.pads = pads
        self.enc = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.bottom = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU())
        self.up = nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.last = nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, image):
        fine = self.enc(image)
        coarse = self.up(self.bottom(fine))
        if self.pads:  # where an odd side was rounded down
            rows, columns = fine.shape[2] - coarse.shape[2], fine.shape[3] - coarse.shape[3]
            coarse = F.pad(coarse, (0, columns, 0, rows))
        return (self.last(torch.cat((fine, coarse), 1)) + image).clamp(0, 1)


class Shuffled(nn.Module):
    """It enlarges, and adds the image to nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GELU())
        self.tail = nn.Sequential(nn.Conv2d(8, 12, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, image):
        return self.tail(self.body(image))


class InPlace(nn.Module):
    """It writes into the image that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, image):
        feature = F.relu(self.first(image.mul_(0.5)))
        return self.last(feature)


def wrapped(kind, **options):
    torch.manual_seed(0)
    return wrap(kind(**options).eval()).eval()


NETWORKS = {
    "unet": lambda: wrapped(UNet),
    "unet that pads within": lambda: wrapped(UNet, pads=True),
    "enlarging": lambda: wrapped(Shuffled),
    "in place": lambda: wrapped(InPlace),
    "ours": lambda: create_backbone("nafnet_tiny", **NAFNET).eval(),
    "small": convolutional,
}

known_exporter = pytest.mark.skipif(IS_OLD, reason="PyTorch 2.6 makes no ONNX of batch norm, nor of mixed baddbmm")


def sides(net, facts):
    """Two sizes of images that the file takes."""
    multiple, least = int(facts["size_multiple"]), int(facts["least_side"])
    return [(1, net.in_channels, least + multiple, least + 3 * multiple), (3, net.in_channels, least, least)]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_pt2_computes_the_same_for_other_sizes(name, tmp_path):
    net = NETWORKS[name]()
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    assert export(net, tmp_path / "net.pt2", "pt2") == [tmp_path / "net.pt2"]
    extra = {"facts.json": ""}
    module = torch.export.load(tmp_path / "net.pt2", extra_files=extra).module()
    facts = json.loads(extra["facts.json"])
    assert (facts["pad_mode"], facts["scale"]) == (net.pad_mode, net.scale)
    assert facts["size_multiple"] % net.size_multiple == 0
    for shape in sides(net, facts):
        image = torch.rand(shape)
        with torch.no_grad():
            torch.testing.assert_close(module(image), net(image), atol=1e-5, rtol=0)
    assert all(torch.equal(before[key], tensor) for key, tensor in net.state_dict().items())


ONNX_ONLY = {
    "shifted windows": lambda: create_backbone("swinir_tiny", depths=[2], num_heads=[2], embed_dim=12).eval(),
    "windows of a U": lambda: create_backbone("uformer_tiny", depths=[2, *[1] * 8], square=False).eval(),
}


@known_exporter
@pytest.mark.parametrize("name", [name for name in [*NETWORKS, *ONNX_ONLY] if name != "small"])
def test_onnx_computes_the_same_for_other_sizes(name, tmp_path):
    net = (NETWORKS | ONNX_ONLY)[name]()
    export(net, tmp_path / "net.onnx", "onnx")
    facts = {entry.key: entry.value for entry in onnx.load(tmp_path / "net.onnx").metadata_props}
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    for shape in sides(net, facts):
        image = torch.rand(shape)
        (restored,) = session.run(None, {"image": image.numpy()})
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(restored), net(image), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("old", "said"), [(True, f"it may with a PyTorch newer than {torch.__version__}"), (False, "")]
)
def test_where_there_is_no_graph_an_old_pytorch_is_named(old, said, monkeypatch):
    monkeypatch.setattr(graph, "IS_OLD", old)
    error = graph.no_graph(convolutional(), "ONNX", RuntimeError("no such operation\nand a trace"))
    assert str(error).startswith("Convolutional does not export to ONNX")
    assert said in str(error)
    assert str(error).endswith("says: no such operation")
    assert ("newer" in str(error)) == old


def test_a_pt2_opens_without_gesso(tmp_path):
    export(wrapped(UNet), tmp_path / "net.pt2", "pt2")
    code = (
        "import sys; sys.modules['gesso'] = None; import torch; "
        f"print(torch.export.load({str(tmp_path / 'net.pt2')!r}).module()(torch.rand(1, 3, 64, 128)).shape)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert answer.stdout.strip() == "torch.Size([1, 3, 64, 128])"


def test_a_module_with_another_last_convolution_is_refused_by_name(tmp_path):
    """What pre-training makes of it: its own code would compute something else."""
    net = wrapped(UNet)
    net.replace_last(64, image_residual=False)
    for suffix in ("onnx", "pt2"):
        with pytest.raises(CheckpointError, match="External does not export to"):
            export(net, tmp_path / f"net.{suffix}", suffix)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", ["official"])
def test_a_wrapped_network_goes_back_to_its_own_code(format, tmp_path):
    net = wrapped(UNet)
    export(net, tmp_path / "net.pth", format)
    again = UNet()
    again.load_state_dict(torch.load(tmp_path / "net.pth", weights_only=True))
    image = torch.rand(1, 3, 24, 32)
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(image), net(image))


def test_a_suffix_is_not_belied(tmp_path):
    with pytest.raises(ValueError, match=r"named as pt2, and format onnx does not use this suffix"):
        export(convolutional(), tmp_path / "net.pt2", "onnx")
    gesso.save(create_backbone("nafnet_tiny", **NAFNET), tmp_path / "net.safetensors")
    with pytest.raises(ValueError, match="format: expected"):
        export(tmp_path / "net.safetensors", tmp_path / "net.pth", "torchscript")


class Rounded(nn.Module):
    """Its sums lose digits in float32: it adds a large number and takes it away again."""

    def forward(self, image):
        return (image + 10_000) - 10_000


@pytest.mark.parametrize(
    ("off", "kept"), [(0.0, True), (5e-5, True), (1e-3, True), (1e-2, False), (float("nan"), False)]
)
def test_a_file_may_be_as_far_from_float64_as_pytorch_is_itself(off, kept):
    image = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = Rounded()(image)  # 5e-4 off
    with contextlib.nullcontext() if kept else pytest.raises(CheckpointError, match=r"a file is .* off"):
        graph.check_equal(expected + off, expected, "a file", Rounded(), image)


@pytest.mark.parametrize(("off", "kept"), [(5e-5, True), (2e-4, False)])
def test_of_a_network_that_is_exact_a_file_is_exact_too(off, kept):
    image = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with contextlib.nullcontext() if kept else pytest.raises(CheckpointError, match="off for images"):
        graph.check_equal(image + off, image, "a file", nn.Identity(), image)

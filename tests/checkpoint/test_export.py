import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gesso.backbones import Backbone
from gesso.backbones._transfer import PaperTransfer
from gesso.checkpoint import CheckpointError, export, load, load_features

from .conftest import same


def test_official_weights_come_out_as_they_went_in(tmp_path, net):
    torch.save({"params": net.state_dict()}, tmp_path / "official.pth")
    export(tmp_path / "official.pth", tmp_path / "again.pth", "official")
    before, after = (torch.load(tmp_path / name, weights_only=True) for name in ("official.pth", "again.pth"))
    assert same(after["params"], before["params"])


def test_basicsr_finds_both_of_its_keys_for_the_price_of_one(tmp_path, net):
    torch.save(net.state_dict(), tmp_path / "flat.pth")
    export(net, tmp_path / "basicsr.pth", "basicsr")
    content = torch.load(tmp_path / "basicsr.pth", weights_only=True)
    assert list(content) == ["params", "params_ema"]
    assert same(content["params"], content["params_ema"])
    assert (tmp_path / "basicsr.pth").stat().st_size < 1.3 * (tmp_path / "flat.pth").stat().st_size


def test_a_pretrained_network_goes_back_to_ifp_and_mfm(tmp_path, pretrained, net):
    export(pretrained, tmp_path / "ckpt.pth", "encoder")
    content = torch.load(tmp_path / "ckpt.pth", weights_only=True)
    assert set(content) == {"model", "optimizer", "lr_scheduler", "max_accuracy", "epoch", "config"}
    assert same({k.removeprefix("encoder."): v for k, v in content["model"].items()}, pretrained.state_dict())
    assert load_features(net, tmp_path / "ckpt.pth").relearned == ["output.weight"]


def test_degae_gets_two_flat_files_with_the_layer_it_never_uses(tmp_path, pretrained):
    net = PaperTransfer(pretrained)
    encoder, decoder = export(net, tmp_path / "400.pth", "degae")
    assert (encoder.name, decoder.name) == ("400_E.pth", "400_De1.pth")
    assert same(torch.load(encoder, weights_only=True), pretrained.state_dict())
    head = torch.load(decoder, weights_only=True)
    assert {key: tuple(tensor.shape) for key, tensor in head.items()} == {
        "conv_last.weight": (3, 64, 3, 3),
        "conv_last.bias": (3,),
        "HRconv.weight": (64, 64, 3, 3),
        "HRconv.bias": (64,),
    }
    assert sum(tensor.numel() for tensor in head.values()) == 38_659
    assert same(load(encoder, decoder=decoder).state_dict(), net.state_dict())


def test_degae_gets_a_pretrained_network_alone(tmp_path, pretrained):
    assert export(pretrained, tmp_path / "400.pth", "degae") == [tmp_path / "400_E.pth"]


def test_our_own_format_from_official_weights(tmp_path, net):
    torch.save({"params": net.state_dict()}, tmp_path / "official.pth")
    export(tmp_path / "official.pth", tmp_path / "net.safetensors", "safetensors")
    assert same(load(tmp_path / "net.safetensors").state_dict(), net.state_dict())


def test_exporting_leaves_the_network_alone(tmp_path, net):
    net.train()
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    for name, format in (("official.pth", "official"), ("encoder.pth", "encoder"), ("own.safetensors", "safetensors")):
        export(net, tmp_path / name, format)
    assert net.training
    assert same(net.state_dict(), before)


def test_formats_that_a_network_does_not_have_are_refused(tmp_path, net, pretrained):
    with pytest.raises(CheckpointError, match="expected a network from pre-training or of the `paper` transfer"):
        export(net, tmp_path / "x.pth", "degae")
    for format in ("official", "basicsr"):
        with pytest.raises(CheckpointError, match="use degae, encoder, onnx, pt2 or safetensors"):
            export(PaperTransfer(pretrained), tmp_path / "x.pth", format)
    with pytest.raises(ValueError, match="format: expected official, basicsr"):
        export(net, tmp_path / "x.pth", "caffe")
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------------- ONNX


class Halving(Backbone):
    """A convolutional network that exports in no time."""

    head_keys = ("last_conv.",)
    size_multiple = 2

    def __init__(self) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.channels, self.image_residual = 3, 3, [8, 12], True
        self.down, self.up = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Conv2d(8, 32, 3, padding=1)
        self.last_conv = nn.Conv2d(8, 3, 3, padding=1)

    def features(self, image):
        coarse = F.gelu(self.down(image))
        return [coarse, F.pixel_shuffle(self.up(coarse), 2)]

    def reconstruct(self, feature, image):
        return self.last_conv(feature) + image


def test_onnx_takes_any_size_and_says_how_to_pad(tmp_path):
    net = Halving()
    assert export(net, tmp_path / "net.onnx", "onnx") == [tmp_path / "net.onnx"]
    facts = {entry.key: entry.value for entry in onnx.load(tmp_path / "net.onnx").metadata_props}
    assert (facts["size_multiple"], facts["pad_mode"], facts["scale"]) == ("2", "reflect", "1")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    image = torch.rand(3, 3, 50, 22)
    (restored,) = session.run(None, {"image": image.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(restored), net(image), atol=1e-5, rtol=0)


class Sized(Halving):
    """A network that computes something else for wide images."""

    def features(self, image):
        return [feature * (2 if image.shape[-1] > 6 else 1) for feature in super().features(image)]


class Lying(Halving):
    """A network that computes something else while it is exported."""

    def features(self, image):
        return [feature + torch.compiler.is_compiling() for feature in super().features(image)]


@pytest.mark.parametrize(
    ("network", "message"), [(Sized, "Sized (does not export|as ONNX)"), (Lying, "as ONNX is .* off")]
)
def test_onnx_is_refused_where_it_cannot_be_right(tmp_path, network, message):
    with pytest.raises(CheckpointError, match=message):
        export(network(), tmp_path / "net.onnx", "onnx")
    assert list(tmp_path.iterdir()) == []

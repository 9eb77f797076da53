"""The model of IFP and DegAE: a pre-trained network and the head of DegAE's class behind it."""

import pytest
import torch

from gesso.backbones import Backbone, create_backbone
from gesso.backbones._transfer import PaperTransfer
from gesso.checkpoint import export, load, read_state, save
from tests._golden import case_id, cases, check_gradients, check_output, check_state, fill_value, make_inputs


class Nothing(Backbone):
    """A network that returns its input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.in_channels = self.out_channels = channels
        self.channels = []


def head(channels, scale, out_channels=3):
    return PaperTransfer(Nothing(channels), None, out_channels, scale)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("golden", cases("degae", name="One_Conv_Head"), ids=case_id)
def test_equals_the_head_of_degae(golden, dtype):
    net = head(golden["args"]["in_c"], golden["args"]["scale"], golden["args"]["out_c"])
    state = {key.removeprefix("enlarge."): tensor for key, tensor in net.state_dict().items()}
    filled = {key: fill_value(key, tensor.shape) for key, tensor in state.items()}
    unused = {
        "HRconv.weight": fill_value("HRconv.weight", (64, 64, 3, 3)),
        "HRconv.bias": fill_value("HRconv.bias", (64,)),
    }
    check_state(unused | filled, golden)
    net.load_state_dict({key: filled[key.removeprefix("enlarge.")] for key in net.state_dict()})
    inputs = make_inputs(golden, dtype, requires_grad=True)
    net.to(dtype)
    features = net.enlarged(inputs["x"])
    restored = net.reconstruct(features, inputs["x"])
    check_output(restored, golden["out"]["out"])
    check_gradients(golden, inputs, {"out": restored})


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("name", ["restormer_tiny", "swinir_tiny"])
def test_both_files_of_degae_open_and_are_written_again(tmp_path, name, scale):
    torch.manual_seed(0)
    swinir = {"body_only": True, "img_size": 16, "depths": (2,), "num_heads": (4,)}
    options = swinir if name == "swinir_tiny" else {"out_channels": 64, "image_residual": False}
    encoder = create_backbone(name, **options)
    net = PaperTransfer(encoder, enlarge=scale).eval()
    first, second = export(net, tmp_path / "official.pth", "degae")
    facts = {"depths": (2,), "num_heads": (4,)} if name == "swinir_tiny" else {}
    again = load(first, decoder=second, **facts).eval()
    image = torch.rand(1, 3, 13, 18)
    with torch.no_grad():
        assert torch.equal(again(image), net(image))
    assert net(image).shape == (1, 3, 13 * scale, 18 * scale)
    for file, copy in zip((first, second), export(again, tmp_path / "copy.pth", "degae"), strict=True):
        before, after = read_state(file), read_state(copy)
        assert list(before) == list(after)
        assert all(torch.equal(before[key], after[key]) for key in before)
    save(net, tmp_path / "ours.safetensors")
    with torch.no_grad():
        assert torch.equal(load(tmp_path / "ours.safetensors").eval()(image), net(image))


def test_an_enlargement_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="enlarge: expected 1, 2, 3 or 4, got 5"):
        head(8, 5)

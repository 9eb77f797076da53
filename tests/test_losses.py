import math

import pytest
import torch

from gesso import metrics
from gesso.losses import LOSSES, TAPS, VGG19, find_loss, list_losses, open_loss
from gesso.pretext._critics import load_frozen


def batch(error: float) -> tuple[torch.Tensor, torch.Tensor]:
    gt = torch.full((2, 3, 8, 8), 0.5)
    return gt + error, gt


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("l1", 0.1),
        ("mse", 0.01),
        ("charbonnier", math.sqrt(0.01 + 1e-6)),
        ("psnr", -20.0),
        ("charbonnier_sum", 2 * 3 * 8 * 8 * math.sqrt(0.01 + 1e-6)),
        ("ssim", 0.84 * (1 - (2 * 0.5 * 0.6 + 1e-4) / (0.5**2 + 0.6**2 + 1e-4)) + 0.16 * 0.1),
    ],
)
def test_a_constant_error_of_a_tenth_costs(name, expected):
    assert find_loss(name)(*batch(0.1)).item() == pytest.approx(expected, rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("name", LOSSES)
def test_is_least_and_has_a_finite_gradient_at_the_ground_truth(name):
    restored, gt = batch(0.0)
    restored.requires_grad_()
    loss = LOSSES[name](restored, gt)
    loss.backward()
    assert restored.grad is not None
    assert torch.isfinite(restored.grad).all()
    assert loss < LOSSES[name](*batch(0.01))


def test_psnr_is_minus_the_metric_and_averages_over_images_not_pixels():
    restored, gt = torch.rand(2, 2, 3, 16, 16)
    restored[1] = gt[1] + 0.01
    each = [metrics.psnr(*pair, quantise=False) for pair in zip(restored[:1], gt[:1], strict=True)] + [40.0]
    assert LOSSES["psnr"](restored, gt).item() == pytest.approx(-sum(each) / 2, abs=1e-2)


@pytest.mark.parametrize("channel", ["grey", "rgb"])
def test_ssim_is_one_minus_the_metric(channel):
    """Alone, with weight 1; the metric takes values of 0 to 255 of an image that is kept in float here."""
    generator = torch.Generator().manual_seed(0)
    gt = torch.rand(2, 1 if channel == "grey" else 3, 24, 31, generator=generator)
    restored = (gt + 0.1 * torch.randn(gt.shape, generator=generator)).clamp(0, 1)
    expected = [metrics.ssim(*pair, quantise=False, channel=channel) for pair in zip(restored, gt, strict=True)]
    assert find_loss("ssim", weight=1)(restored, gt).item() == pytest.approx(1 - sum(expected) / 2, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        *(("ssim", "weight", value) for value in (-0.1, 0, 1.5, "much", math.nan)),
        *((name, "eps", value) for name in ("charbonnier", "charbonnier_sum") for value in (-1e-3, 0, "small")),
    ],
)
def test_a_number_that_a_loss_cannot_take_is_refused_before_it_is_used(name, option, value):
    with pytest.raises(ValueError, match=f"loss {name}: {option}: expected"):
        find_loss(name, **{option: value})


def test_a_misspelt_loss_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean charbonnier"):
        find_loss("charbonier")


@pytest.fixture
def vgg(tmp_path, monkeypatch):
    """A file of VGG-19 with a twentieth of its channels, which is then what is asked for."""
    monkeypatch.setattr("gesso.losses.WIDTHS", (3, 3, 0, 6, 6, 0, *[12] * 4, 0, *[24] * 4, 0, 24))
    torch.manual_seed(0)
    torch.save(VGG19().state_dict(), tmp_path / "vgg19.pth")
    return tmp_path / "vgg19.pth"


def test_names_and_shapes_of_vgg_are_torchvisions():
    with torch.device("meta"):
        state = {key: tuple(tensor.shape) for key, tensor in VGG19().state_dict().items()}
    assert len(state) == 26
    assert state["features.0.weight"] == (64, 3, 3, 3)
    assert state["features.28.weight"] == (512, 512, 3, 3)
    assert list(TAPS) == [1, 6, 11, 20, 29]


def test_features_of_vgg_stand_beside_the_pixels(vgg):
    loss = open_loss({"name": "charbonnier_sum", "vgg": vgg, "vgg_weight": 0.1}, load_frozen)
    generator = torch.Generator().manual_seed(0)
    restored, gt = (torch.rand(2, 3, 32, 32, generator=generator) for _ in range(2))
    network, seen, wanted, expected = load_frozen(VGG19(), vgg), restored, gt, 0.0
    for number, layer in enumerate(network.features):
        seen, wanted = layer(seen), layer(wanted)
        if number in TAPS:
            expected += TAPS[number] * (seen - wanted).abs().sum().item()
    pixels = find_loss("charbonnier_sum")(restored, gt).item()
    assert loss(restored, gt).item() == pytest.approx(pixels + 0.1 * expected, rel=1e-5)
    restored.requires_grad_()
    loss(restored, gt).backward()
    assert restored.grad.isfinite().all()
    with torch.autocast("cpu", torch.bfloat16):
        assert loss(restored, gt).item() == pytest.approx(pixels + 0.1 * expected, rel=1e-5)


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("charbonier", ValueError, "did you mean charbonnier"),
        ({"name": "l1", "vgg_wait": 1}, ValueError, "loss has no option 'vgg_wait'; did you mean vgg_weight"),
        ({"name": "l1", "vgg_weight": 1}, ValueError, "needs the weights of VGG-19"),
        ({"name": "l1", "vgg": "nowhere.pth"}, FileNotFoundError, "nowhere.pth"),
        ({"name": "l1", "vgg": "nowhere.pth", "vgg_weight": -1}, ValueError, "vgg_weight: expected a number from 0"),
        (
            {"name": "l1", "vgg": "nowhere.pth", "vgg_weight": "much"},
            ValueError,
            "loss: vgg_weight: expected a number, got",
        ),
    ],
)
def test_a_loss_that_cannot_be_is_explained(spec, error, message):
    with pytest.raises(error, match=message):
        open_loss(spec, load_frozen)


def test_a_file_without_vgg_is_refused(tmp_path):
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="25 of 26 tensors are missing"):
        open_loss({"name": "l1", "vgg": tmp_path / "other.pth"}, load_frozen)


# --------------------------------------------------------------------------------------------------- a user's own loss


def huber(restored, gt, delta=0.1):
    return torch.nn.functional.huber_loss(restored, gt, delta=delta)


class Edges(torch.nn.Module):
    def __init__(self, weight=1.0):
        super().__init__()
        self.weight = weight

    def forward(self, restored, gt):
        return self.weight * (restored - gt).diff(dim=-1).abs().mean()


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (huber, 0.005),
        (f"{__name__}:huber", 0.005),
        ({"name": f"{__name__}:huber", "delta": 0.2}, 0.005),
        ({"name": f"{__name__}:huber", "delta": 0.05}, 0.05 * 0.075),
        (Edges(3.0), 0.0),
        (f"{__name__}:Edges", 0.0),
        ({"name": f"{__name__}:Edges", "weight": 2.0}, 0.0),
        ({"name": "charbonnier", "eps": 0.1}, math.sqrt(0.02)),
    ],
)
def test_functions_and_modules_are_losses_and_options_are_theirs(spec, expected):
    assert open_loss(spec, load_frozen)(*batch(0.1)).item() == pytest.approx(expected, abs=1e-6)
    assert list_losses() == sorted(LOSSES)


def test_a_loss_of_ones_own_takes_perceptual_features_too(vgg):
    spec = {"name": f"{__name__}:huber", "delta": 0.05, "vgg": vgg, "vgg_weight": 0.0}
    restored, gt = torch.rand(2, 1, 3, 32, 32)
    assert open_loss(spec, load_frozen)(restored, gt).item() == pytest.approx(huber(restored, gt, 0.05).item())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (f"{__name__}:hubert", "has no 'hubert'; did you mean huber"),
        (f"{__name__}:__name__", "expected a function .*, got a str"),
        ({"name": f"{__name__}:huber", "gamma": 1}, "has no option 'gamma'"),
        ({"name": f"{__name__}:Edges", "wait": 1}, "has no option 'wait'; did you mean weight"),
        ({"name": "l1", "eps": 1}, "has no option 'eps'"),
        (lambda restored, gt: restored - gt, r"returned a tensor \(2, 3, 64, 64\)"),
        (lambda restored, gt: 3.0, "returned a float"),
        (lambda restored: restored.mean(), "it says"),
        (Edges, "expected a function .* it says|returned a"),
    ],
)
def test_what_is_no_loss_is_refused_at_once(spec, message):
    with pytest.raises(ValueError, match=message):
        open_loss(spec, load_frozen)

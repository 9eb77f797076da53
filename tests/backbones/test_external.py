"""Networks that are not ours, as others write them."""

import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gesso import checkpoint
from gesso.backbones import create_backbone
from gesso.backbones._transfer import PaperTransfer
from gesso.backbones.external import UnfitModuleError, wrap
from gesso.functional.random import generator_for
from gesso.pretext import create_pretext, list_pretexts
from gesso.restorer import Restorer
from tests._networks import photo_like


def double(inputs, outputs):
    layers = [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(
        *layers, nn.Conv2d(outputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class UNet(nn.Module):
    """As segmentation code has it: poolings, skips, a 1x1 convolution at the end, sigmoid."""

    def __init__(self, width=8, classes=3):
        super().__init__()
        self.features = double(3, width)  # a name that a backbone has, too
        self.channels = nn.ModuleList([double(width, 2 * width), double(2 * width, 4 * width)])
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(nn.ConvTranspose2d(c * width, c * width // 2, 2, stride=2) for c in (4, 2))
        self.decode = nn.ModuleList([double(4 * width, 2 * width), double(2 * width, width)])
        self.outc = nn.Conv2d(width, classes, 1)

    def forward(self, x):
        skips = [self.features(x)]
        for encode in self.channels:
            skips.append(encode(self.pool(skips[-1])))
        y = skips.pop()
        for up, decode in zip(self.up, self.decode, strict=True):
            y = decode(torch.cat([skips.pop(), up(y)], 1))
        return torch.sigmoid(self.outc(y))


class DnCNN(nn.Module):
    """A stack of convolutions that predicts what to subtract, clamped where it is used."""

    def __init__(self, width=8, channels=3):
        super().__init__()
        self.head = nn.Conv2d(channels, width, 3, padding=1)
        self.body = nn.Sequential(*(nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.GELU()) for _ in range(3)))
        self.tail = nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(width, channels, 3))
        nn.init.zeros_(self.tail[1].weight)
        nn.init.zeros_(self.tail[1].bias)

    def forward(self, image):
        output = image + self.tail(self.body(self.head(image)))
        return output if self.training else output.clamp(0, 1)


class ESPCN(nn.Module):
    """A x2 super-resolver: its last convolution is at the small size, and the enlarged image is added."""

    def __init__(self, width=8):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, width, 5, padding=2), nn.Tanh(), nn.Conv2d(width, 12, 3, padding="same"))

    def forward(self, x):
        return F.pixel_shuffle(self.net(x), 2) + F.interpolate(x, scale_factor=2, mode="bicubic")


CASES = {
    UNet: {"last": "outc", "scale": 1, "size_multiple": 4, "skip": "none", "tail": "sigmoid"},
    DnCNN: {"last": "tail.1", "scale": 1, "size_multiple": 1, "skip": "image", "tail": "clamp"},
    ESPCN: {"last": "net.2", "scale": 2, "size_multiple": 1, "skip": "bicubic", "tail": "none"},
}


@pytest.fixture(params=CASES, ids=lambda kind: kind.__name__)
def module(request):
    torch.manual_seed(0)
    return request.param()


def test_the_seam_is_found(module):
    net = wrap(module)
    expected = CASES[type(module)]
    assert {name: getattr(net.seam, name) for name in expected} == expected
    assert net.report.startswith(f"{type(module).__name__}: last convolution {expected['last']}, 8 channels before it")


def test_the_backbone_computes_what_the_module_does(module):
    net, image = wrap(module).eval(), torch.rand(2, 3, 24, 36)
    module.eval()
    with torch.no_grad():
        torch.testing.assert_close(net(image), module(image))
        assert net(image[..., :23, :31]).shape[2:] == (23 * net.scale, 31 * net.scale)


def test_wrapping_changes_nothing(module):
    module.train()
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    state = torch.get_rng_state()
    wrap(module)
    assert torch.equal(torch.get_rng_state(), state)
    assert module.training
    assert all(torch.equal(tensor, before[key]) for key, tensor in module.state_dict().items())
    assert not [part for part in module.modules() if part._forward_hooks or part._forward_pre_hooks]


def test_names_and_parameters_are_the_modules_own(module):
    net = wrap(module)
    assert list(net.state_dict()) == list(module.state_dict())
    assert all(ours is theirs for ours, theirs in zip(net.parameters(), module.parameters(), strict=True))
    net.double()
    assert next(module.parameters()).dtype == torch.float64
    assert {key for key in net.state_dict() if net.is_head(key)} == {f"{net.seam.last}.weight", f"{net.seam.last}.bias"}


@pytest.mark.parametrize("name", list_pretexts())
def test_every_pretext_trains_it(module, name):
    small = {"degae": {"representor_width": 8, "representor_blocks": 4, "decoder_width": 16}}
    pretext = create_pretext(name, wrap(module), **small.get(name, {}))
    images = (2,) if pretext.images_per_sample == 2 else ()
    image = torch.rand(2, *images, 3, 32, 32)
    pretext({"image": image}, generator_for(0))["loss"].backward()
    body = [p for key, p in pretext.backbone.named_parameters() if not pretext.backbone.is_head(key)]
    assert all(p.grad is not None for p in body)


def test_a_pretrained_module_is_fine_tuned_and_restores(module, tmp_path):
    pretrained = wrap(module)
    pretrained.replace_last(64, image_residual=False)
    assert pretrained(torch.rand(1, 3, 16, 20)).shape == (1, 64, 16 * pretrained.scale, 20 * pretrained.scale)
    checkpoint.save(pretrained, tmp_path / "ifp.safetensors")
    net = wrap(type(module)())
    report = checkpoint.load_features(net, tmp_path / "ifp.safetensors")
    assert report.relearned == [f"{net.seam.last}.weight", f"{net.seam.last}.bias"]
    restored = Restorer(net, tile=32, overlap=8, precision="float32")(photo_like(3, 50, 70))
    assert restored.shape == (3, 50 * net.scale, 70 * net.scale)


def test_copies_are_whole(module):
    import copy

    net = wrap(module).eval()
    twin = copy.deepcopy(net)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
        image = torch.rand(1, 3, 16, 16)
        assert not torch.equal(twin(image), net(image)) or isinstance(module, DnCNN)
        torch.testing.assert_close(net(image), module.eval()(image))


# --------------------------------------------------------------------------------------------------- by name


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of the user's in the working folder."""
    (tmp_path / "ownnets.py").write_text(
        "from torch import nn\n\n\nclass Net(nn.Module):\n"
        "    def __init__(self, width=4):\n        super().__init__()\n"
        "        self.a, self.b = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, 3, 3, padding=1)\n\n"
        "    def forward(self, x):\n        return x + self.b(self.a(x).relu())\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    yield "ownnets:Net"
    sys.modules.pop("ownnets", None)


def test_a_class_is_named_like_a_backbone(package, tmp_path):
    net = create_backbone(package, width=6)
    assert net.channels == [6]
    checkpoint.save(net, tmp_path / "own.safetensors")
    assert set(checkpoint.read_state(tmp_path / "own.safetensors")) == {"a.weight", "a.bias", "b.weight", "b.bias"}
    again = checkpoint.load(tmp_path / "own.safetensors", target=package)
    image = torch.rand(1, 3, 9, 10)
    with torch.no_grad():
        assert torch.equal(again(image), net(image))


def test_a_file_alone_runs_no_code(package, tmp_path):
    checkpoint.save(create_backbone(package), tmp_path / "own.safetensors")
    checkpoint.save(PaperTransfer(create_backbone(package)), tmp_path / "paper.safetensors")
    sys.modules.pop("ownnets")
    for name in ("own", "paper"):
        with pytest.raises(
            checkpoint.CheckpointError, match=r"a class of your own, ownnets:Net, .* only where you name it"
        ):
            checkpoint.load(tmp_path / f"{name}.safetensors")
        with pytest.raises(checkpoint.CheckpointError, match="only where you name it"):
            checkpoint.load(tmp_path / f"{name}.safetensors", target="os:system")
    assert "ownnets" not in sys.modules
    assert checkpoint.load(tmp_path / "paper.safetensors", target=package).backbone.channels == [4]


def test_a_pretrained_class_comes_back_with_its_new_convolution(package, tmp_path):
    net = create_backbone(package)
    net.replace_last(64, image_residual=False)
    checkpoint.save(net, tmp_path / "ifp.safetensors")
    assert checkpoint.load(tmp_path / "ifp.safetensors", target=package).out_channels == 64


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("nowhere_to_be_found:Net", {}, "cannot import nowhere_to_be_found"),
        ("ownnets:Nett", {}, "ownnets has no nn.Module 'Nett'; did you mean Net"),
        ("ownnets:Net", {"depth": 3}, r"cannot be built with \{'depth': 3\}"),
        ("os:system", {}, "os has no nn.Module 'system'"),
    ],
)
def test_names_that_lead_nowhere(package, name, options, message):
    with pytest.raises(ValueError, match=message):
        create_backbone(name, **options)


# --------------------------------------------------------------------------------------------------- refusals


class Returns(nn.Module):
    """A network that returns what it is told to make of its convolution."""

    def __init__(self, make, channels=3):
        super().__init__()
        self.make, self.first, self.second = make, nn.Conv2d(channels, 4, 3, padding=1), nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, x):
        return self.make(self.second(self.first(x).relu()), x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda y, x: (y, x), "but a tuple; wrap it in a module that returns the final image"),
        (lambda y, x: y.mean((2, 3)), r"but \(2, 3\) for images"),
        (lambda y, x: y[..., ::2, ::2], "of the size of its input or a multiple of it, but"),
        (lambda y, x: y + torch.rand_like(y), "but another one each time"),
        (lambda y, x: x * y.exp(), r"tried second \(off by \d+%\).*name its last convolution"),
        (lambda y, x: x.round() + y, r"tried second \(off by"),
    ],
)
def test_modules_without_a_seam_are_refused_with_a_reason(make, message):
    torch.manual_seed(0)
    with pytest.raises(UnfitModuleError, match=message):
        wrap(Returns(make))


def test_a_module_that_takes_no_image_is_refused_with_what_it_says():
    with pytest.raises(
        UnfitModuleError, match=r"Linear: runs on no image that was tried; RuntimeError: (addmm: )?mat1"
    ):
        wrap(nn.Linear(10, 10))
    with pytest.raises(UnfitModuleError, match="has no parameters"):
        wrap(nn.ReLU())
    with pytest.raises(UnfitModuleError, match="tried none has its channels"):
        wrap(nn.Conv2d(3, 3, 1))


def test_a_convolution_that_is_none_is_refused():
    with pytest.raises(UnfitModuleError, match="last: 'secnd' is no Conv2d of it; did you mean second"):
        wrap(Returns(lambda y, x: y), last="secnd")


def test_the_last_convolution_can_be_named():
    net = Returns(lambda y, x: y)
    assert wrap(net, last="second").seam.last == "second"
    with pytest.raises(UnfitModuleError, match="tried none has its channels"):
        wrap(net, last="first")


def test_grey_and_four_channel_networks():
    assert wrap(DnCNN(channels=1)).in_channels == 1
    assert wrap(DnCNN(channels=4)).seam.skip == "image"


class Centred(nn.Module):
    """As networks of super-resolution have it: a mean off and on by frozen convolutions, a range, padding inside."""

    def __init__(self, width=8):
        super().__init__()
        self.sub_mean, self.add_mean = (
            nn.Conv2d(3, 3, 1).requires_grad_(False),
            nn.Conv2d(3, 3, 1).requires_grad_(False),
        )
        self.first, self.second = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, 3, 3, padding=1)
        for conv, sign in ((self.sub_mean, -1), (self.add_mean, 1)):
            nn.init.dirac_(conv.weight)
            conv.bias.data = sign * torch.tensor([0.4, 0.5, 0.3])

    def forward(self, x):
        height, width = x.shape[-2:]
        y = F.pad(self.sub_mean(x), (0, -width % 8, 0, -height % 8), mode="reflect") * 10
        y = self.add_mean(self.second(self.first(y).relu()) / 10)
        return y[..., :height, :width]


def test_a_mean_and_a_range_that_are_undone_at_the_end_are_found():
    torch.manual_seed(0)
    module = Centred().eval()
    net = wrap(module).eval()
    assert (net.seam.first, net.seam.last, net.size_multiple) == ("first", "second", 1)
    assert net.seam.gain == pytest.approx(0.1, rel=1e-4)
    assert net.seam.offset == pytest.approx((0.4, 0.5, 0.3), abs=1e-4)
    assert "adds a mean of 0.4, 0.5, 0.3, to 0.1 times its output" in net.report
    image = torch.rand(2, 3, 21, 30)
    with torch.no_grad():
        torch.testing.assert_close(net(image), module(image), rtol=0, atol=1e-4)
    net.replace_last(64, image_residual=False)
    assert net(image).shape == (2, 64, 21, 30)


class Writing(nn.Module):
    """Scales the image that it is given in place, and mixes the colours of its output."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.mix = (
            nn.Conv2d(3, 8, 3, padding=1),
            nn.Conv2d(8, 3, 3, padding=1),
            nn.Conv2d(3, 3, 1),
        )
        nn.init.dirac_(self.mix.weight)

    def forward(self, x):
        x *= 255
        return self.mix(self.second(self.first(x).relu())) / 255


def test_a_network_that_writes_into_its_input_is_given_a_copy():
    torch.manual_seed(0)
    net = wrap(Writing())
    assert net.seam.writes
    assert net.seam.last == "second"  # not the one of three channels behind it
    image = torch.rand(1, 3, 12, 12)
    kept = image.clone()
    with torch.no_grad():
        restored = net(image)
        assert torch.equal(image, kept)
        torch.testing.assert_close(restored, net.module(image.clone()), rtol=1e-4, atol=1e-4)


class Square(nn.Module):
    """As Uformer has it: tokens of which it knows the number alone, and sides that have to divide by 4."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 4, stride=4), nn.Conv2d(4, 48, 3, padding=1)

    def forward(self, x):
        tokens = self.first(x).flatten(2)
        side = round(tokens.shape[2] ** 0.5)
        return x + F.pixel_shuffle(self.second(tokens.unflatten(2, (side, side))), 4)


def test_a_network_for_squares_gets_squares():
    torch.manual_seed(0)
    net = wrap(Square())
    assert (net.seam.square, net.size_multiple) == (True, 4)
    assert "sides multiples of 4 and equal" in net.report
    image = torch.rand(1, 3, 17, 30)
    assert net(image).shape == image.shape
    with torch.no_grad():
        torch.testing.assert_close(net(image[..., :16, :16]), net.module(image[..., :16, :16]))


def test_what_a_network_predicts_may_be_subtracted():
    net = wrap(Returns(lambda y, x: x - y))
    assert net.seam.gain == pytest.approx(-1)
    image = torch.rand(1, 3, 9, 12)
    with torch.no_grad():
        torch.testing.assert_close(net(image), net.module(image))


def test_a_convolution_that_explains_nothing_is_not_taken():
    with pytest.raises(UnfitModuleError, match="tried second"):
        wrap(Returns(lambda y, x: x + 0 * y))


def test_a_frozen_network_is_wrapped_like_others():
    assert wrap(Returns(lambda y, x: y).requires_grad_(False)).seam.last == "second"


def test_features_of_rgb_prime_a_network_of_the_users_for_grey(tmp_path):
    torch.manual_seed(0)
    pretrained = wrap(DnCNN())
    checkpoint.save(pretrained, tmp_path / "rgb.safetensors")
    report = checkpoint.load_features(wrap(DnCNN(channels=1)), tmp_path / "rgb.safetensors", keep_head=True)
    assert "from 3 to 1 image channels" in str(report)
    assert set(report.adapted.names) == {"head.weight", "tail.1.weight", "tail.1.bias"}


def test_an_image_that_is_not_added_cannot_be():
    with pytest.raises(ValueError, match="adds no image"):
        wrap(Returns(lambda y, x: y)).replace_last(3, image_residual=True)


class ImageNet(nn.Module):
    """It normalises by the statistics of ImageNet, channel by channel, and undoes that at its end."""

    def __init__(self, residual: bool, clamps: bool) -> None:
        super().__init__()
        self.residual, self.clamps = residual, clamps
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, image):
        given = (image - self.mean) / self.std
        restored = self.last(F.relu(self.first(given)))
        restored = (restored + given if self.residual else restored) * self.std + self.mean
        return restored.clamp(0, 1) if self.clamps else restored


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("clamps", [True, False])
def test_normalisation_by_channel_is_recognised(residual, clamps):
    torch.manual_seed(0)
    net = wrap(ImageNet(residual, clamps)).eval()
    assert net.seam.gain == pytest.approx((0.229, 0.224, 0.225), rel=1e-3)
    assert net.image_residual == residual
    image = torch.rand(1, 3, 40, 56)
    with torch.no_grad():
        torch.testing.assert_close(net(image), net.module(image), atol=1e-5, rtol=0)
    assert "0.229, 0.224, 0.225 times its output" in net.report

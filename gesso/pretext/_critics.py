"""What DegAE's images are judged by besides their pixels: VGG-19 features, and a discriminator."""

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from gesso.checkpoint import read_part
from gesso.functional.normalise import imagenet_normalise

Judge = Literal["patch", "vgg128"]
Adversary = Literal["lsgan", "vanilla", "ragan"]
VGG19 = (64, 64, "pool", 128, 128, "pool", *[256] * 4, "pool", *[512] * 4, "pool", *[512] * 4)


def load_frozen(module: nn.Module, path: str | Path) -> nn.Module:
    """`module` itself with the weights of a file, frozen; entries of the file that it does not have are left alone.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if an entry is missing or has another shape.
    """
    own = module.state_dict()
    state = read_part(path, own.keys())
    unfit = [key for key, tensor in own.items() if key not in state or state[key].shape != tensor.shape]
    if unfit:
        shown = ", ".join(f"{key} {'x'.join(map(str, own[key].shape))}" for key in unfit[:3])
        raise ValueError(f"{path}: {len(unfit)} of {len(own)} tensors are missing or of another shape: {shown} ...")
    module.load_state_dict({key: state[key] for key in own})
    return module.requires_grad_(False).eval()


class VGGFeatures(nn.Module):
    """Features (B, 512, H / 16, W / 16) of VGG-19 before its last ReLU (conv5_4) of an image in [0, 1].

    Simonyan and Zisserman, 2015; entry names are torchvision's.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in VGG19:
            if isinstance(width, str):
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
        self.features = nn.Sequential(*layers[:-1])

    def forward(self, image: Tensor) -> Tensor:
        """The features."""
        return self.features(imagenet_normalise(image))


class PatchDiscriminator(nn.Module):
    """A map (B, 1, h, w) of how real the patches of an image (B, 3, H, W) look, as logits (PatchGAN).

    Isola et al., "Image-to-image translation with conditional adversarial networks", CVPR 2017.
    """

    def __init__(self, in_channels: int = 3, width: int = 64, layers: int = 3) -> None:
        super().__init__()
        widths = [width * min(2**n, 8) for n in range(layers + 1)]
        steps: list[nn.Module] = [nn.Conv2d(in_channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for n in range(1, layers + 1):
            stride = 2 if n < layers else 1
            steps += [
                nn.Conv2d(widths[n - 1], widths[n], 4, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(widths[n]),
                nn.LeakyReLU(0.2),
            ]
        self.model = nn.Sequential(*steps, nn.Conv2d(widths[-1], 1, 4, padding=1))

    def forward(self, image: Tensor) -> Tensor:
        """The map."""
        return self.model(image)


class VGGDiscriminator(nn.Module):
    """How real an image (B, 3, 128, 128) looks as a whole, one logit each (B, 1).

    The discriminator of SRGAN (Ledig et al., CVPR 2017) in the form that BasicSR calls VGG-128: five times a 3x3 and a
    strided 4x4 convolution, then two linear layers.
    """

    side = 128

    def __init__(self, in_channels: int = 3, width: int = 64) -> None:
        super().__init__()
        steps: list[nn.Module] = []
        channels = in_channels
        for level in range(5):
            wider = width * min(2**level, 8)
            plain = nn.Conv2d(channels, wider, 3, padding=1, bias=level == 0)
            steps += [plain, *([nn.BatchNorm2d(wider)] if level else []), nn.LeakyReLU(0.2)]
            halve = nn.Conv2d(wider, wider, 4, stride=2, padding=1, bias=False)
            steps += [halve, nn.BatchNorm2d(wider), nn.LeakyReLU(0.2)]
            channels = wider
        self.features = nn.Sequential(*steps)
        self.score = nn.Sequential(nn.Linear(channels * 4 * 4, 100), nn.LeakyReLU(0.2), nn.Linear(100, 1))

    def forward(self, image: Tensor) -> Tensor:
        """The logits.

        Raises:
            ValueError: if the images are of another size.
        """
        if image.shape[-2:] != (self.side, self.side):
            height, width = image.shape[-2:]
            raise ValueError(
                f"discriminator: vgg128 judges images of {self.side} x {self.side}, got {width} x {height}; set "
                f"crop_size to {self.side}, or take discriminator=patch"
            )
        return self.score(self.features(image).flatten(1))


def realism(form: Adversary, score: Tensor, *, real: bool) -> Tensor:
    """How far a map of scores is from all real, or all generated: squared error for "lsgan", else cross-entropy."""
    label = torch.full_like(score, float(real))
    if form == "lsgan":
        return F.mse_loss(score, label)
    return F.binary_cross_entropy_with_logits(score, label)


def adversarial_losses(form: Adversary, generated: Tensor, real: Tensor, *, for_generator: bool) -> Tensor:
    """The generator's or the discriminator's loss from the scores of generated and real images.

    "ragan" compares each with the mean of the other (Jolicoeur-Martineau, "The relativistic discriminator", 2018).
    """
    if form == "ragan":
        generated, real = generated - real.mean(), real - generated.mean()
    elif for_generator:
        return realism(form, generated, real=True)
    return (realism(form, real, real=not for_generator) + realism(form, generated, real=for_generator)) / 2


def judge_frozen(discriminator: nn.Module, image: Tensor) -> Tensor:
    """The discriminator's map of `image`; gradients reach the image, not the discriminator's weights."""
    frozen = {name: parameter.detach() for name, parameter in discriminator.named_parameters()}
    return functional_call(discriminator, frozen, (image,))


def blurred_mse(prediction: Tensor, target: Tensor, sigma: float = 1.0) -> Tensor:
    """Mean squared difference of two images (B, C, H, W) after a 5x5 Gaussian, edges mirrored."""
    offset = torch.arange(-2, 3, device=prediction.device, dtype=prediction.dtype)
    line = torch.exp(-offset.square() / (2 * sigma**2))
    line = line / line.sum()
    kernel = torch.outer(line, line).expand(prediction.shape[1], 1, 5, 5)
    difference = F.pad(prediction - target, (2, 2, 2, 2), mode="reflect")
    return F.conv2d(difference, kernel, groups=prediction.shape[1]).square().mean()

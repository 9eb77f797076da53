"""Losses of supervised restoration, each a function of (restored, gt), images (B, C, H, W), that gives a scalar.

And `FeatureLoss`, which sees the feature maps of the network as well.
"""

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gesso._discovery import UnknownNameError, check_options, load_object, suggest_part
from gesso._specs import LossSpec
from gesso._values import PositiveFloat, Share
from gesso.functional.color import as_rgb

if TYPE_CHECKING:
    from gesso.backbones import Backbone

Loss = Callable[[Tensor, Tensor], Tensor]
SIDE = 64  # of the images that a loss of the user's is tried with


class FeatureLoss(nn.Module):
    """A loss on what a network sees in its input, added to that of the restored image in fine-tuning (`critic`).

    Subclasses write `forward`. DCPT's critic is one; a class of yours is given as `module:Class`, or built, in Python.
    Its parameters are trained only if they require gradients and the run's optimiser knows them, so freeze them.
    """

    def forward(self, backbone: "Backbone", features: list[Tensor], lq: Tensor) -> Tensor:
        """The loss, a scalar.

        Args:
            backbone: the network that is trained.
            features: what `backbone.features` returned, coarse to fine.
            lq: the degraded image (B, C, H, W), padded, that it returned them for.
        """
        raise NotImplementedError


def l1(restored: Tensor, gt: Tensor) -> Tensor:
    """Mean absolute error (Restormer)."""
    return F.l1_loss(restored, gt)


def mse(restored: Tensor, gt: Tensor) -> Tensor:
    """Mean squared error."""
    return F.mse_loss(restored, gt)


def charbonnier(restored: Tensor, gt: Tensor, eps: PositiveFloat = 1e-3) -> Tensor:
    """Mean of sqrt(error^2 + eps^2), an absolute error that is smooth at zero (Uformer)."""
    return torch.sqrt((restored - gt).square() + eps**2).mean()


def charbonnier_sum(restored: Tensor, gt: Tensor, eps: PositiveFloat = 1e-3) -> Tensor:
    """The sum of sqrt(error^2 + eps^2), which grows with crop and batch (SNR-Net, PTG-RM)."""
    return torch.sqrt((restored - gt).square() + eps**2).sum()


def psnr(restored: Tensor, gt: Tensor) -> Tensor:
    """Minus the PSNR in dB, peak 1, the mean over the batch (NAFNet, after HINet)."""
    error = (restored - gt).square().flatten(1).mean(1)
    return 10 / math.log(10) * torch.log(error + 1e-8).mean()


def ssim(restored: Tensor, gt: Tensor, weight: Share = 0.84) -> Tensor:
    """`weight` times 1 - SSIM, and (1 - weight) times the mean absolute error.

    After Zhao et al., Loss Functions for Image Restoration with Neural Networks (2017), equation 15 and their weight;
    theirs takes SSIM at several scales, and weighs the error by its window. SSIM is that of `metrics.ssim`: a Gaussian
    window of 11 x 11, sigma 1.5 (the largest that fits, of a smaller image), only where it lies wholly inside.
    """
    with torch.autocast(restored.device.type, enabled=False):  # differences of products
        restored, gt = restored.float(), gt.float()
        reach = (min(11, *gt.shape[-2:]) - 1) // 2
        places = torch.arange(-reach, reach + 1, dtype=torch.float32, device=gt.device)
        window = torch.exp(-(places**2) / (2 * 1.5**2))
        window = window / window.sum()
        maps = torch.cat((restored, gt, restored**2, gt**2, restored * gt), 1)
        across = window.expand(maps.shape[1], 1, 1, -1)
        maps = F.conv2d(F.conv2d(maps, across, groups=maps.shape[1]), across.transpose(-1, -2), groups=maps.shape[1])
        mean, mean_gt, square, square_gt, product = maps.chunk(5, 1)
        luminance = (2 * mean * mean_gt + 0.01**2) / (mean**2 + mean_gt**2 + 0.01**2)
        variances = square - mean**2 + square_gt - mean_gt**2
        structure = (2 * (product - mean * mean_gt) + 0.03**2) / (variances + 0.03**2)
        return weight * (1 - (luminance * structure).mean()) + (1 - weight) * l1(restored, gt)


LOSSES: dict[str, Loss] = {
    "l1": l1, "mse": mse, "charbonnier": charbonnier, "charbonnier_sum": charbonnier_sum, "psnr": psnr, "ssim": ssim,
}  # fmt: skip


def list_losses() -> list[str]:
    """Names that `--loss` takes."""
    return sorted(LOSSES)


def find_loss(name: str, **options: Any) -> Loss:
    """The loss of this name, with its own options; `module:function` or `module:Class` names one of the user's.

    Raises:
        UnknownNameError: for an unknown name or option, with the nearest match.
        ValueError: if it is no function of two images that returns a scalar.

    Example:
        >>> find_loss("charbonnier", eps=1.0)(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)).item()
        1.0
    """
    if name in LOSSES:
        check_options(LOSSES[name], options, f"loss {name}")
        return functools.partial(LOSSES[name], **options) if options else LOSSES[name]
    if ":" not in name:
        raise UnknownNameError(f"unknown loss {name!r}; {suggest_part(name, LOSSES)}")
    found = load_object(name, "loss", LOSSES)
    if isinstance(found, type):
        check_options(found, options, f"loss {name}")
        found = found(**options)
    elif options:
        check_options(found, options, f"loss {name}")
        found = functools.partial(found, **options)
    return check_loss(found, name)


def check_loss(loss: Any, name: str) -> Loss:
    """A loss of the user's, tried on two images.

    Raises:
        ValueError: if it is no function of two images that returns a scalar.
    """
    wanted = f"loss {name}: expected a function (restored, gt) -> scalar"
    if not callable(loss):
        raise ValueError(f"{wanted}, got a {type(loss).__name__}")
    like = next(iter(loss.parameters() if isinstance(loss, nn.Module) else ()), torch.zeros(()))
    images = torch.rand(2, 2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).to(like.device)
    with torch.no_grad():
        try:
            value = loss(*images)
        except Exception as error:  # whatever a function of the user's says to images
            raise ValueError(f"{wanted}; on two images {tuple(images.shape[1:])} it says {error}") from error
    if not isinstance(value, Tensor) or value.ndim:
        seen = f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise ValueError(f"{wanted}, it returned {seen}")
    return cast("Loss", loss)


def open_loss(spec: LossSpec, load: Callable[[nn.Module, Path], nn.Module]) -> Loss:
    """The loss that an option means: one by name, with options of its own or a perceptual loss added; or a function.

    Args:
        spec: a name, `{name: ..., option: ...}` with options of `find_loss` and `perceptual_loss`, or a function.
        load: fills a module from a file and freezes it.

    Raises:
        UnknownNameError: for an unknown name or option, with the nearest match.
        FileNotFoundError: if there is no such file.
        ValueError: if the file does not hold VGG-19, or a value is out of range.
    """
    if isinstance(spec, str):
        return find_loss(spec)
    if not isinstance(spec, Mapping):
        return check_loss(spec, getattr(spec, "__name__", type(spec).__name__))
    name = spec.get("name", "l1")
    options = {key: value for key, value in spec.items() if key != "name"}
    perceptual = {"vgg", "vgg_weight"} & options.keys()
    own = name not in LOSSES or options.keys() & inspect.signature(LOSSES[name]).parameters.keys()
    pixel = find_loss(name, **{key: value for key, value in options.items() if key not in perceptual} if own else {})
    options = {key: value for key, value in options.items() if not own or key in perceptual}
    check_options(perceptual_loss, {"pixel": pixel, "load": load, **options}, "loss")
    return perceptual_loss(pixel, load, **options) if options else pixel


def perceptual_loss(
    pixel: Loss, load: Callable[[nn.Module, Path], nn.Module], *, vgg: str | Path | None = None, vgg_weight: float = 0.1
) -> Loss:
    """A loss of pixels, and beside it the distance of VGG-19 features, as SNR-Net and PTG-RM are trained.

    Args:
        pixel: the loss of pixels.
        load: fills a module from a file and freezes it.
        vgg: file with torchvision's VGG-19.
        vgg_weight: factor of the sum of absolute differences over five maps.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it does not hold VGG-19, or none is given.
    """
    if vgg is None:
        raise ValueError("loss: vgg_weight needs the weights of VGG-19, a file of torchvision (vgg: FILE)")
    if not (isinstance(vgg_weight, int | float) and 0 <= vgg_weight < math.inf):
        raise ValueError(f"loss: vgg_weight: expected a number from 0, got {vgg_weight!r}")
    features = load(VGG19(), Path(vgg))

    def loss(restored: Tensor, gt: Tensor) -> Tensor:
        features.to(restored.device)
        with torch.autocast(restored.device.type, enabled=False):  # sums over maps
            return pixel(restored, gt) + vgg_weight * feature_distance(features, restored.float(), gt.float())

    return loss


TAPS = {1: 1 / 32, 6: 1 / 16, 11: 1 / 8, 20: 1 / 4, 29: 1.0}  # behind relu1_1, 2_1, 3_1, 4_1, 5_1, and their weights
WIDTHS = (64, 64, 0, 128, 128, 0, *[256] * 4, 0, *[512] * 4, 0, 512)  # 0: a pooling


class VGG19(nn.Module):
    """VGG-19 as far as relu5_1 (Simonyan and Zisserman, 2015); entry names are torchvision's."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in WIDTHS:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()] if width else [nn.MaxPool2d(2)]
            channels = width or channels
        self.features = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> list[Tensor]:
        """The maps behind relu1_1 to relu5_1 of an image (B, 3, H, W), which is taken as it is."""
        maps = []
        for number, layer in enumerate(self.features):
            image = layer(image)
            if number in TAPS:
                maps.append(image)
        return maps


def feature_distance(vgg: nn.Module, restored: Tensor, gt: Tensor) -> Tensor:
    """Sums of absolute differences of VGG-19 maps, each with its weight."""
    with torch.no_grad():
        wanted = vgg(as_rgb(gt))
    pairs = zip(TAPS.values(), vgg(as_rgb(restored)), wanted, strict=True)
    return torch.stack([weight * (seen - target).abs().sum() for weight, seen, target in pairs]).sum()

"""Priors: what a frozen pre-trained model says of an image, as one vector of length 1.

A prior is a plain module `image (B, 3, H, W) in [0, 1] -> (B, D)`. Where it comes from is one word:

    FILE                a network that `gesso.load` opens: means of its feature maps
    clip:FOLDER         a CLIP image encoder as `transformers` saves it
    clip:NAME@FILE      a CLIP image encoder of `open_clip`, as clip:ViT-B-32-quickgelu@weights.pt
    MODULE:CLASS        a class of yours, built without arguments
"""

import hashlib
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gesso._discovery import suggest
from gesso.backbones import Backbone
from gesso.functional.color import as_rgb

Load = Callable[[Path], Backbone]

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
LOOK = 256  # a network looks at no more than this many pixels squared


class Prior(nn.Module):
    """A model that is looked at and never changed: frozen, in evaluation mode, in float32, and no part of any file.

    Args:
        model: images (B, 3, H, W) in [0, 1] -> (B, D).
        source: the word that it was opened by.

    Raises:
        ValueError: if the model returns something else.
    """

    def __init__(self, model: nn.Module, source: str) -> None:
        super().__init__()
        self.hidden = (model.float().eval().requires_grad_(False),)  # a tuple: neither saved nor trained with its owner
        self.source, self.device = source, torch.device("cpu")
        with torch.no_grad():
            seen = model(torch.full((1, 3, 64, 64), 0.5))
        if not isinstance(seen, Tensor) or seen.ndim != 2 or len(seen) != 1:
            shape = tuple(seen.shape) if isinstance(seen, Tensor) else type(seen).__name__
            raise ValueError(f"{source}: expected a model images (1, 3, 64, 64) -> (1, D), it returned {shape}")
        self.dim = seen.shape[1]

    @property
    def model(self) -> nn.Module:
        """The model itself."""
        return self.hidden[0]

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        """What the model says of images (B, C, H, W), clamped to [0, 1]: (B, dim), each row of length 1.

        Grey images count as coloured ones, of a dual-pixel pair the mean of both views is seen, of four channels the
        first three.
        """
        with torch.autocast(image.device.type, enabled=False):
            return F.normalize(self.model(as_rgb(image).float().clamp(0, 1)), dim=1).to(image.dtype)

    def fingerprint(self) -> str:
        """16 hexadecimal digits that any change of a weight changes."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()[:16]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Prior":
        """Takes the model along to another device, but not to another precision."""
        self.device = fn(torch.zeros((), device=self.device)).device
        self.model.to(self.device)
        return super()._apply(fn, recurse)


# ---------------------------------------------------------------------------------------------------------- sources


def open_prior(source: str, load: Load) -> Prior:
    """The prior that a word means, see the top of this file.

    Args:
        source: the word.
        load: opens a file of gesso.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a model that is no prior, a class that does not exist, or a package that is not installed.
    """
    if source.startswith("clip:"):
        name, at, file = source.removeprefix("clip:").rpartition("@")
        return Prior(clip_encoder(name, Path(file)), f"clip:{name}{at}{Path(file).resolve()}")
    if is_code(source):
        return Prior(own_model(source), source)
    return Prior(PooledFeatures(load(Path(source))), str(Path(source).resolve()))


def is_code(source: str) -> bool:
    """Whether a word names a class: opening it runs code that no file should choose."""
    path = Path(source)
    return ":" in source and not source.startswith("clip:") and not path.is_absolute() and not path.exists()


class PooledFeatures(nn.Module):
    """What a network makes of an image: means of all maps of `features`, each of length 1, one behind the other.

    From each mean that of a grey picture is subtracted: most of a mean is there whatever the image, and would make all
    priors nearly the same (measured in docs/methods/ptg_rm.md).

    Of an image of more than 256 x 256 pixels it sees four windows of 128 x 128 at most, one in each quarter.
    """

    grey: Tensor

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        if backbone.in_channels != 3:
            raise ValueError(f"prior: expected a network for RGB images, this takes {backbone.in_channels} channels")
        self.backbone = backbone.float().eval()
        with torch.no_grad():
            grey = torch.cat(self.means(torch.full((1, 3, LOOK // 2, LOOK // 2), 0.5)), 1)
        self.register_buffer("grey", grey, persistent=False)

    def means(self, image: Tensor) -> list[Tensor]:
        """The mean over each feature map, (B, channels) each."""
        return [feature.mean((2, 3)) for feature in self.backbone.features(self.backbone.pad(image))]

    def forward(self, image: Tensor) -> Tensor:
        """The vectors (B, sum of channels)."""
        windows = glimpses(image)
        means = self.means(torch.cat(windows))
        grey = self.grey.split([mean.shape[1] for mean in means], 1)
        pooled = torch.cat([F.normalize(mean - g, dim=1) for mean, g in zip(means, grey, strict=True)], 1)
        return pooled.unflatten(0, (len(windows), -1)).mean(0)


def glimpses(image: Tensor) -> list[Tensor]:
    """The image (B, C, H, W), or if it is large a window in each of its quarters."""
    height, width = image.shape[-2:]
    if height * width <= LOOK**2:
        return [image]
    rows, columns = min(height, LOOK // 2), min(width, LOOK // 2)
    corners = [((height - rows) * i // 4, (width - columns) * j // 4) for i in (1, 3) for j in (1, 3)]
    return [image[..., top : top + rows, left : left + columns] for top, left in corners]


class ClipEncoder(nn.Module):
    """A CLIP image encoder that takes images of any size, squeezed into its square.

    Args:
        encoder: normalised squares (B, 3, size, size) -> (B, D).
        size: side of the square.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: nn.Module, size: int) -> None:
        super().__init__()
        self.encoder, self.size = encoder, size
        for name, numbers in (("mean", CLIP_MEAN), ("std", CLIP_STD)):
            self.register_buffer(name, torch.tensor(numbers).view(3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Embeddings (B, D) of images (B, 3, H, W) in [0, 1]."""
        square = F.interpolate(image, (self.size, self.size), mode="bicubic", antialias=True).clamp(0, 1)
        seen = self.encoder((square - self.mean) / self.std)
        return getattr(seen, "image_embeds", seen)


def clip_encoder(name: str, weights: Path) -> ClipEncoder:
    """The image encoder of CLIP from local weights: the file of a model of `open_clip`, or a folder of `transformers`.

    Raises:
        FileNotFoundError: if there are no weights; nothing is downloaded.
        ValueError: if the package is not installed, or the weights are not those of the model.
    """
    if not (weights.is_file() if name else (weights / "config.json").is_file()):
        raise FileNotFoundError(
            f"{weights}: no CLIP weights there; expected clip:FOLDER with config.json and model.safetensors "
            "(transformers), or clip:NAME@FILE as clip:ViT-B-32-quickgelu@weights.pt (open_clip)"
        )
    return open_clip_encoder(name, weights) if name else transformers_encoder(weights)


def transformers_encoder(folder: Path) -> ClipEncoder:
    """CLIP's image encoder with its projection, from a folder that `save_pretrained` wrote."""
    vision = optional("transformers").CLIPVisionModelWithProjection
    model, seen = vision.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    if seen["missing_keys"]:
        missing = sorted(seen["missing_keys"])
        raise ValueError(f"clip:{folder}: no CLIP image encoder, {len(missing)} weights are missing: {missing[0]} ...")
    return ClipEncoder(model, model.config.image_size)


def open_clip_encoder(name: str, file: Path) -> ClipEncoder:
    """CLIP's image encoder of a model of `open_clip`."""
    open_clip = optional("open_clip")
    if name not in open_clip.list_models():
        raise ValueError(f"clip:{name}@{file}: unknown model of open_clip; {suggest(name, open_clip.list_models())}")
    visual = open_clip.create_model(name, pretrained=str(file)).visual
    size = visual.image_size
    return ClipEncoder(visual, size if isinstance(size, int) else size[0])


def optional(package: str) -> Any:
    """A package that only CLIP needs.

    Raises:
        ValueError: if it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError:
        raise ValueError(f"a CLIP prior needs {package}, which is not installed; pip install 'gesso[clip]'") from None


def own_model(source: str) -> nn.Module:
    """An instance of the class that MODULE:CLASS names; modules of the working folder are found, too.

    Raises:
        ValueError: if there is no such module, no such class in it, or it is no `nn.Module`.
    """
    module_name, _, class_name = source.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(f"prior {source}: no file, and no module either ({error})") from None
    if not hasattr(module, class_name):
        classes = [name for name, value in vars(module).items() if isinstance(value, type)]
        raise ValueError(f"prior {source}: {module_name} has no {class_name!r}; {suggest(class_name, classes)}")
    model = getattr(module, class_name)()
    if not isinstance(model, nn.Module):
        raise ValueError(f"prior {source}: expected a torch.nn.Module, it builds a {type(model).__name__}")
    return model

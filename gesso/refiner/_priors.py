"""Priors: what a frozen pre-trained model says of an image, as one vector of length 1.

A prior is a plain module `image (B, 3, H, W) in [0, 1] -> (B, D)`; one with a method `map`, which returns (B, D, h, w),
also gives a prior of two dimensions. Where it comes from is one word:

    FILE                a network that `gesso.load` opens: means of its feature maps, or the maps
    clip:FOLDER         a CLIP image encoder as `transformers` saves it: embeddings, of the image or of its patches
    clip:NAME@FILE      a CLIP image encoder of `open_clip`, as clip:ViT-B-32-quickgelu@weights.pt
    sd:FOLDER           the image encoder of Stable Diffusion as `diffusers` saves it: means of its last map, or the map
    MODULE:CLASS        a class of yours, built without arguments; in Python also the module itself
"""

import contextlib
import copy
import hashlib
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gesso._discovery import CODE, PRIORS, advise_colon, load_class, suggest
from gesso.backbones import Backbone, spell_object
from gesso.functional.color import as_rgb
from gesso.functional.padding import pad, round_up
from gesso.primed import is_primed

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

    place: Tensor

    def __init__(self, model: nn.Module, source: str) -> None:
        super().__init__()
        self.hidden = (model.float().eval().requires_grad_(False),)  # a tuple: neither saved nor trained with its owner
        self.source = source
        self.register_buffer("place", torch.zeros(()), persistent=False)  # goes where its owner is brought
        with torch.no_grad():
            seen = model(torch.full((1, 3, 64, 64), 0.5))
        if not isinstance(seen, Tensor) or seen.ndim != 2 or len(seen) != 1:
            shape = tuple(seen.shape) if isinstance(seen, Tensor) else type(seen).__name__
            raise ValueError(f"{source}: expected a model images (1, 3, 64, 64) -> (1, D), it returned {shape}")
        self.dim = seen.shape[1]

    @property
    def model(self) -> nn.Module:
        """The model itself, where its owner has been brought; of another precision it takes no notice."""
        return self.hidden[0].to(self.device)

    @property
    def device(self) -> torch.device:
        """Where its owner has been brought."""
        return self.place.device

    def forward(self, image: Tensor) -> Tensor:
        """What the model says of images (B, C, H, W), clamped to [0, 1]: (B, dim), each row of length 1.

        Grey images count as coloured ones, of a dual-pixel pair the mean of both views is seen, of four channels the
        first three.
        """
        return self.look(self.model, image)

    def map(self, image: Tensor) -> Tensor:
        """What it says at every place: (B, dim, h, w), of length 1 along the channels.

        Raises:
            ValueError: if the model sees whole images alone.
        """
        if not hasattr(self.model, "map"):
            raise ValueError(
                f"prior {self.source}: describes whole images, and a map is asked for; expected a file of a network, "
                "clip:FOLDER, sd:FOLDER, or a class with a method `map`"
            )
        return self.look(self.model.map, image)  # pyright: ignore[reportArgumentType]

    @torch.no_grad()
    def look(self, how: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
        """What one of the model's functions says of images, in full precision and brought to length 1."""
        with torch.autocast(image.device.type, enabled=False):
            return F.normalize(how(as_rgb(image).float().clamp(0, 1)), dim=1).to(image.dtype)

    def fingerprint(self) -> str:
        """16 hexadecimal digits that any change of a weight changes."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()[:16]


# ---------------------------------------------------------------------------------------------------------- sources


def open_prior(source: str | nn.Module, load: Load) -> Prior:
    """The prior that a word means, see the top of this file; or a module itself, of which a copy is frozen.

    Args:
        source: the word, or the module.
        load: opens a file of gesso.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a model that is no prior, a class that does not exist, or a package that is not installed.
    """
    if isinstance(source, nn.Module):
        return Prior(copy.deepcopy(source), spell_prior(source))
    if source.startswith("clip:"):
        name, at, file = source.removeprefix("clip:").rpartition("@")
        return Prior(clip_encoder(name, Path(file)), f"clip:{name}{at}{Path(file).resolve()}")
    if source.startswith("sd:"):
        folder = Path(source.removeprefix("sd:"))
        return Prior(diffusion_encoder(folder), f"sd:{folder.resolve()}")
    if is_code(source):
        return Prior(own_model(source), source)
    if not is_primed(source) and not Path(source).exists():
        forms = "a file of weights, clip:MODEL@FILE, sd:FOLDER, primed:TASK or module:Class"
        raise FileNotFoundError(f"prior: expected {forms}; there is no file {source}{advise_colon(source)}")
    return Prior(PooledFeatures(load(Path(source))), str(Path(source).resolve()))


def spell_prior(source: str | nn.Module) -> str:
    """What records call a prior."""
    return source if isinstance(source, str) else spell_object(source)


def is_code(source: str) -> bool:
    """Whether a word names a class: opening it runs code that no file should choose."""
    return bool(CODE.fullmatch(source)) and not source.startswith(PRIORS) and not Path(source).exists()


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

    def map(self, image: Tensor) -> Tensor:
        """All feature maps of the image (B, sum of channels, h, w), at a quarter of its side."""
        size = max(1, image.shape[-2] // 4), max(1, image.shape[-1] // 4)
        features = self.backbone.features(self.backbone.pad(image))
        greys = self.grey.split([feature.shape[1] for feature in features], 1)
        beyond = [feature - grey[:, :, None, None] for feature, grey in zip(features, greys, strict=True)]
        return torch.cat([F.normalize(F.adaptive_avg_pool2d(feature, size), dim=1) for feature in beyond], 1)

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

    def square(self, image: Tensor) -> Tensor:
        """What the encoder takes of images (B, 3, H, W) in [0, 1]."""
        square = F.interpolate(image, (self.size, self.size), mode="bicubic", antialias=True).clamp(0, 1)
        return (square - self.mean) / self.std

    def forward(self, image: Tensor) -> Tensor:
        """Embeddings (B, D) of images (B, 3, H, W) in [0, 1]."""
        seen = self.encoder(self.square(image))
        return getattr(seen, "image_embeds", seen)


class PatchClipEncoder(ClipEncoder):
    """CLIP's image encoder of `transformers`, which also describes patches."""

    def map(self, image: Tensor) -> Tensor:
        """Embeddings (B, D, h, w) of the patches of images: what is made of the image's own token, of theirs."""
        model: Any = self.encoder
        tokens = model.vision_model(self.square(image)).last_hidden_state[:, 1:]
        embedded = model.visual_projection(model.vision_model.post_layernorm(tokens))
        side = round(embedded.shape[1] ** 0.5)
        return embedded.mT.unflatten(2, (side, side))


class DiffusionEncoder(nn.Module):
    """The image encoder of Stable Diffusion's autoencoder, as far as its last map: 512 channels, an eighth of the side.

    Which layer, step and mean PTG-RM takes of Stable Diffusion is not said; this needs neither text nor noise. Large
    images are seen as `PooledFeatures` sees them.

    Args:
        encoder: of `diffusers`, images in [-1, 1] -> what its `conv_out` returns.
        reduction: by how much it shrinks the side of an image.
    """

    def __init__(self, encoder: nn.Module, reduction: int) -> None:
        super().__init__()
        self.encoder, self.reduction = encoder, reduction

    def map(self, image: Tensor) -> Tensor:
        """What enters the encoder's last convolution, (B, D, h, w)."""
        height, width = image.shape[-2:]
        margin = 0, round_up(width, self.reduction) - width, 0, round_up(height, self.reduction) - height
        seen: list[Tensor] = []
        hook = self.encoder.conv_out.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))  # pyright: ignore
        try:
            self.encoder(2 * pad(image, *margin) - 1)
        finally:
            hook.remove()
        return seen[0]

    def forward(self, image: Tensor) -> Tensor:
        """Means of the map (B, D)."""
        windows = glimpses(image)
        return self.map(torch.cat(windows)).mean((2, 3)).unflatten(0, (len(windows), -1)).mean(0)


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
    with quiet("transformers"):
        model, seen = vision.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    if seen["missing_keys"]:
        missing = sorted(seen["missing_keys"])
        raise ValueError(f"clip:{folder}: no CLIP image encoder, {len(missing)} weights are missing: {missing[0]} ...")
    return PatchClipEncoder(model, model.config.image_size)


def open_clip_encoder(name: str, file: Path) -> ClipEncoder:
    """CLIP's image encoder of a model of `open_clip`."""
    open_clip = optional("open_clip")
    if name not in open_clip.list_models():
        raise ValueError(f"clip:{name}@{file}: unknown model of open_clip; {suggest(name, open_clip.list_models())}")
    visual = open_clip.create_model(name, pretrained=str(file)).visual
    size = visual.image_size
    return ClipEncoder(visual, size if isinstance(size, int) else size[0])


def diffusion_encoder(folder: Path) -> DiffusionEncoder:
    """The image encoder of Stable Diffusion, from the folder of a pipeline of `diffusers` or of its autoencoder alone.

    Raises:
        FileNotFoundError: if there are no weights; nothing is downloaded.
        ValueError: if the package is not installed, or the weights are not those of the model.
    """
    inside = folder / "vae" if (folder / "vae/config.json").is_file() else folder
    if not (inside / "config.json").is_file():
        raise FileNotFoundError(
            f"{folder}: no weights of Stable Diffusion there; expected sd:FOLDER with vae/config.json, or with the "
            "config.json and diffusion_pytorch_model.safetensors of the autoencoder (diffusers)"
        )
    autoencoder = optional("diffusers", "sd").AutoencoderKL
    with quiet("diffusers"):
        model, seen = autoencoder.from_pretrained(inside, local_files_only=True, output_loading_info=True)
    if missing := sorted(key for key in seen["missing_keys"] if key.startswith("encoder.")):
        raise ValueError(f"sd:{folder}: no image encoder, {len(missing)} weights are missing: {missing[0]} ...")
    return DiffusionEncoder(model.encoder, 2 ** (len(model.config.block_out_channels) - 1))


@contextlib.contextmanager
def quiet(package: str) -> Iterator[None]:
    """Keeps `transformers` or `diffusers` from showing which weights of a file it leaves out, and its progress bars."""
    logging = importlib.import_module(f"{package}.utils.logging")
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        logging.enable_progress_bar()


def optional(package: str, extra: str = "clip") -> Any:
    """A package that one kind of prior needs.

    Raises:
        ValueError: if it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError:
        what = {"clip": "a CLIP", "sd": "a Stable Diffusion"}[extra]
        advice = f"pip install 'gesso[{extra}]'"
        raise ValueError(f"{what} prior needs {package}, which is not installed; {advice}") from None


def own_model(source: str) -> nn.Module:
    """An instance of the class that MODULE:CLASS names.

    Raises:
        ValueError: if there is no such module, no such `nn.Module` in it, or it needs arguments.
    """
    kind = load_class(source, nn.Module, "prior")
    try:
        return kind()
    except TypeError as error:
        raise ValueError(f"prior {source}: cannot be built without arguments ({error})") from None

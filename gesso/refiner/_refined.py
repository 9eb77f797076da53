"""A restorer and the refiner behind it, as one network that is loaded, evaluated and exported like any other."""

import contextlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from gesso._specs import PriorSpec, PriorView, RefinedLevel, RefinerSpec
from gesso.backbones import OBJECT, Backbone, network_class
from gesso.functional.checks import check_choice
from gesso.refiner._base import Refiner
from gesso.refiner._named import DEFAULT, open_refiner, spell_refiner
from gesso.refiner._priors import Load, Prior, is_code, open_prior


class Refined(Backbone):
    """A restorer and a refiner. Its features are those of the restorer; all else lies behind `reconstruct`.

    The prior's weights are no part of it: `attach` gives it the prior, and without one the refiner takes the mean
    feature that was stored in training.

    Args:
        network: class of the restorer, as `Restormer`; or the restorer itself, which is shared, not copied.
        options: the constructor options of the class.
        refiner: name of the refiner's class, as "ptg_rm" or `module:Class`, or the refiner itself; files of older
            versions have the options of PTG-RM here.
        refiner_args: options of the class.
        prior: where the prior comes from (see `gesso.refiner._priors`); "mean": its stored mean feature; "none": none.
        fingerprint: what tells the prior from others, `Prior.fingerprint`.
        prior_view: what the prior sees: the "crop" or tile that is restored, or the whole "image" that it is cut from.
        level: what is refined: the restored "image", or the last "feature" map, of which the restorer then makes the
            image (-f in table 1 of PTG-RM, which says "deepest"; nothing of it is released).
    """

    def __init__(
        self,
        network: str | Backbone,
        options: Mapping[str, Any] | None = None,
        refiner: RefinerSpec | Mapping[str, Any] | None = DEFAULT,
        refiner_args: Mapping[str, Any] | None = None,
        prior: PriorSpec = "mean",
        fingerprint: str = "",
        prior_view: PriorView = "crop",
        level: RefinedLevel = "image",
    ) -> None:
        super().__init__()
        backbone = network if isinstance(network, Backbone) else network_class(network)(**(options or {}))
        if refiner is None or isinstance(refiner, Mapping):
            refiner, refiner_args = DEFAULT, refiner
        self._adopt(backbone, open_refiner(refiner, refiner_args or {}), prior_view, level)

    def spell_options(self, given: dict[str, Any]) -> dict[str, Any]:
        """The classes and the options of a restorer and a refiner that were given themselves."""
        network = {"network": self.backbone.spell_class(), "options": self.backbone.options}
        return given | network | {"refiner": spell_refiner(type(self.refiner)), "refiner_args": self.refiner.options}

    @classmethod
    def around(
        cls,
        backbone: Backbone,
        prior: Prior | None,
        prior_view: PriorView = "crop",
        level: RefinedLevel = "image",
        refiner: RefinerSpec = DEFAULT,
        **options: Any,
    ) -> Self:
        """An untrained refiner behind a restorer that exists already; the restorer is shared, not copied.

        Args:
            backbone: the restorer.
            prior: the prior; none: a refiner without one.
            prior_view: see the class.
            level: see the class.
            refiner: name or class of the refiner, or one that fits.
            options: those of the class but for its channels and the size of the prior.

        Raises:
            ValueError: if the parts do not fit each other, or the prior would guide nothing.
        """
        prior_dim = 0 if prior is None else prior.dim
        if options.get("prior_dim", prior_dim) != prior_dim:
            raise ValueError(f"prior_dim: {options['prior_dim']}, but the prior says {prior_dim} numbers of an image")
        on_feature = check_choice("level", level, RefinedLevel) == "feature"
        sizes = {"prior_dim": prior_dim, "in_channels": backbone.in_channels, "out_channels": backbone.out_channels}
        sizes |= {"out_channels": backbone.channels[-1]} if on_feature else {}
        built = open_refiner(refiner, options, sizes, on_feature=on_feature)
        if prior is not None and not built.is_guided:
            raise ValueError(f"prior: this {built.title} is guided by nothing; pass the prior none, got {prior.source}")
        if prior is not None and built.sees_map:
            prior.map(torch.full((1, 3, 64, 64), 0.5, device=prior.device))  # can it?
        source, digits = ("none", "") if prior is None else (prior.source, prior.fingerprint())
        net = cls(backbone, None, built, None, source, digits, prior_view, level)
        net.prior = prior
        return net

    @classmethod
    def for_images(cls, options: Mapping[str, Any], channels: int) -> dict[str, Any]:
        """An error: a refiner knows no image but of the kind that it was trained on."""
        raise ValueError(
            f"image_channels: a refined network stays with its images; adapt the restorer to {channels} channels, and "
            "refine that"
        )

    def _adopt(self, backbone: Backbone, refiner: Refiner, prior_view: PriorView, level: RefinedLevel) -> None:
        if backbone.scale != 1:
            raise ValueError(
                f"refiners work on images of the size of their input; this network enlarges {backbone.scale}x"
            )
        if level == "feature" and type(backbone).forward is not Backbone.forward:
            raise ValueError(f"level: {type(backbone).__name__} does more than features and image; expected `image`")
        if refiner.sees_map and prior_view == "image":
            raise ValueError("prior_view: a prior of two dimensions belongs to what is restored; expected crop")
        self.backbone, self.refiner, self.level = backbone, refiner, level
        refiner.hold_mean()  # `gesso refine` fills it
        self.prior: Prior | None = None
        self.prior_view: PriorView = check_choice("prior_view", prior_view, PriorView)
        self.seen: Tensor | None = None  # the prior of the image whose tiles are being restored
        self.in_channels, self.out_channels = backbone.in_channels, backbone.out_channels
        self.channels, self.stages, self.image_residual = backbone.channels, backbone.stages, backbone.image_residual
        self.size_multiple, self.pad_mode = math.lcm(backbone.size_multiple, refiner.size_multiple), backbone.pad_mode
        self.tile_overlap, self.tile_least = backbone.tile_overlap, backbone.tile_least
        self.find_unused_parameters = backbone.find_unused_parameters
        self.head_keys = (*(f"backbone.{key}" for key in backbone.head_keys), "refiner.")

    def attach(self, prior: Prior) -> None:
        """Puts the prior in place.

        Raises:
            ValueError: if it is not the one that the refiner was trained with.
        """
        if prior.dim != self.refiner.prior_dim:
            raise ValueError(
                f"prior: {prior.source} says {prior.dim} numbers of an image, the refiner takes "
                f"{self.refiner.prior_dim}; pass the prior that it was trained with"
            )
        if (seen := prior.fingerprint()) != self.options["fingerprint"]:
            raise ValueError(
                f"prior: {prior.source} (fingerprint {seen}) is not the one that the refiner was trained with "
                f"(fingerprint {self.options['fingerprint']}); pass that one, or the prior `mean`"
            )
        self.prior = prior
        self.options |= {"prior": prior.source}

    def padding(self, height: int, width: int) -> tuple[int, int, int, int]:
        """How far the restorer extends an image."""
        return self.backbone.padding(height, width)

    def features(self, image: Tensor) -> list[Tensor]:
        """The feature maps of the restorer."""
        return self.backbone.features(image)

    def reconstruct(self, feature: Tensor, image: Tensor) -> Tensor:
        """The refined image, from the last feature map of the restorer."""
        if self.level == "feature":
            return self.backbone.reconstruct(self.refine(feature, image), image)
        return self.refine(self.backbone.reconstruct(feature, image), image)

    def forward(self, image: Tensor) -> Tensor:
        """The refined image (B, out_channels, H, W), unclamped, for `image` (B, in_channels, H, W) of any size."""
        if self.level == "feature":
            return super().forward(image)
        return self.refine(self.restore(image), image)

    def both(self, image: Tensor, prior: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The restored and the refined image; `prior` as in `refine`."""
        if self.level == "image":
            restored = self.restore(image)
            return restored, self.refine(restored, image, prior)
        padded = self.pad(image)
        feature = self.features(padded)[-1]
        refined = self.refine(feature, padded, prior)
        restored, refined = (self.crop(self.backbone.reconstruct(f, padded), image) for f in (feature, refined))
        return restored, refined

    def restore(self, image: Tensor) -> Tensor:
        """What the restorer alone makes of `image`; padding is cropped before anything is refined."""
        if type(self.backbone).forward is not Backbone.forward:  # IPT stitches patches
            return self.backbone(image)
        padded = self.pad(image)
        return self.backbone.crop(self.backbone.reconstruct(self.features(padded)[-1], padded), image)

    def refine(self, restored: Tensor, image: Tensor, prior: Tensor | None = None) -> Tensor:
        """The refined image, or feature map; the prior (B, D) is computed from `image` where it is not known yet."""
        if prior is None and self.prior is not None:
            if getattr(torch.compiler, "is_exporting", bool)():  # PyTorch 2.6 cannot be asked
                raise ValueError("the prior is a network of its own; load the file with the prior `mean` to export it")
            prior = self.look(image) if self.seen is None else self.seen.to(image.dtype).expand(len(image), -1)
        return self.refiner(restored, image, self.refiner.check(restored, image, prior))

    def look(self, image: Tensor) -> Tensor:
        """What the prior says of images, (B, D), or (B, D, h, w) where the refiner takes a map."""
        assert self.prior is not None
        return self.prior.map(image) if self.refiner.sees_map else self.prior(image)

    @contextlib.contextmanager
    def seeing(self, image: Tensor) -> Iterator[None]:
        """Keeps the prior features of an image (C, H, W) while its tiles are restored, if it sees whole images."""
        whole = image[None].to(next(self.refiner.parameters()).device)
        if self.prior is not None and self.prior_view == "image":
            self.seen = self.prior(whole)
        try:
            with self.backbone.seeing(image), self.refiner.seeing(whole):
                yield
        finally:
            self.seen = None

    @contextlib.contextmanager
    def in_tiles(self) -> Iterator[None]:
        """Has the restorer extend tiles no farther than it needs."""
        with self.backbone.in_tiles():
            yield

    def to_official(self) -> dict[str, Tensor]:
        """The restorer's official state, and the refiner's behind it, as the authors of the refiner name it."""
        return self.backbone.to_official() | self.refiner.to_official()


def recover_prior(net: Refined, beside: Path, load: Load, *, asked: bool) -> None:
    """Gives a network out of a file the prior that its options name.

    Args:
        net: the network; unchanged if its prior is "mean" or "none".
        beside: the file; a prior that has moved is also looked for in its folder.
        load: opens a file of gesso.
        asked: whether the caller named the prior, and not the file, which may not choose code to run.

    Raises:
        FileNotFoundError: if the prior is not found.
        ValueError: if it is not the one that the refiner was trained with, or code that was not asked for.
    """
    source, needed = net.options["prior"], bool(net.refiner.prior_dim)
    if needed is (source == "none"):
        raise ValueError(f"{beside}: its refiner was trained {'with' if needed else 'without'} a prior, got {source!r}")
    if source in ("mean", "none"):
        return
    instead = "pass --backbone_args.prior FILE, or `mean` for the mean feature that the file holds"
    if isinstance(source, str) and is_code(source) and not asked:
        raise ValueError(f"{beside}: its prior is the class {source}, and no code runs unasked; {instead}")
    if isinstance(source, str) and source.startswith(OBJECT):
        raise ValueError(f"{beside}: its prior was {source}; {instead}")
    path = Path(str(source))
    if path.is_absolute() and not path.exists() and (beside.parent / path.name).exists():
        source = str(beside.parent / path.name)
    try:
        net.attach(open_prior(source, load))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{beside}: its prior is missing ({error}); {instead}") from None

"""What a refiner owes: a better image from a restored one, the degraded one, and what a prior says of it."""

import contextlib
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gesso.functional.building import record_options


class Refiner(nn.Module):
    """What follows a restorer that works already, and sees what it made of an image.

    Subclasses take `prior_dim`, `in_channels` and `out_channels` by keyword, and options of their own. They write
    `forward`; the rest has defaults. `gesso.refiner.Refined` puts one behind a restorer.

    Args:
        prior_dim: numbers in the prior of an image; 0: no prior.
        in_channels: channels of the degraded image.
        out_channels: channels of the restored image, or of the feature map that is refined in its place.

    Attributes:
        title: what messages call it; the name of the class unless it says otherwise.
        ablations: option values by name, for `--ablation`; "full" leaves nothing out.
        feature_options: option values with which a feature map is refined in place of an image.
        official_prefix: what its weights are called by in a file of the restorer's authors.
        size_multiple: H and W are computed as multiples of this.
        sees_map: whether its prior has two dimensions, (B, prior_dim, h, w).
        mean_prior: what stands in for an absent prior (prior_dim,), set by whoever trains.
        options: constructor options of this very refiner.
    """

    title: ClassVar[str] = "Refiner"
    ablations: ClassVar[dict[str, dict[str, Any]]] = {"full": {}}
    feature_options: ClassVar[dict[str, Any]] = {}
    official_prefix: ClassVar[str] = "refiner."
    size_multiple: int = 1
    sees_map: bool = False
    mean_prior: Tensor | None
    options: dict[str, Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Gives the class a title, and has it keep its options."""
        super().__init_subclass__(**kwargs)
        record_options(cls)
        if "title" not in cls.__dict__:
            cls.title = cls.__name__

    def __init__(self, prior_dim: int = 0, *, in_channels: int = 3, out_channels: int = 3) -> None:
        super().__init__()
        self.prior_dim, self.in_channels, self.out_channels = prior_dim, in_channels, out_channels
        self.register_buffer("mean_prior", None)

    def forward(self, restored: Tensor, degraded: Tensor, prior: Tensor | None = None) -> Tensor:
        """The refined image (B, out_channels, H, W), unclamped, for images of any size.

        Args:
            restored: the restorer's output (B, out_channels, H, W), unclamped, or a feature map of it.
            degraded: its input (B, in_channels, H, W).
            prior: what describes the degraded image, (B, prior_dim) with rows of length 1, or a map of such; None
                where `prior_dim` is 0.
        """
        raise NotImplementedError

    @property
    def is_guided(self) -> bool:
        """Whether a prior changes anything."""
        return bool(self.prior_dim)

    @contextlib.contextmanager
    def seeing(self, image: Tensor) -> Iterator[None]:
        """For refiners that judge a whole image (1, C, H, W): keeps what they see while its tiles are refined."""
        yield

    def to_official(self) -> dict[str, Tensor]:
        """The weights as the authors of the method name them behind a restorer; the mean of priors is ours."""
        return {f"{self.official_prefix}{key}": one for key, one in self.state_dict().items() if key != "mean_prior"}

    def hold_mean(self) -> None:
        """Makes room for the mean prior, which whoever trains fills."""
        if self.prior_dim:
            self.mean_prior = torch.zeros(self.prior_dim)

    def check(self, restored: Tensor, degraded: Tensor, prior: Tensor | None) -> Tensor | None:
        """The prior to use, the mean one where none is given, if everything has the sizes that it should have.

        Raises:
            ValueError: if not.
        """
        if restored.shape[-2:] != degraded.shape[-2:]:
            sizes = f"{tuple(restored.shape)} and {tuple(degraded.shape)}"
            raise ValueError(f"expected a restored image of the size of the degraded one, got {sizes}")
        if not self.prior_dim:
            return None
        expected = restored.shape[0], self.prior_dim
        if prior is None and self.mean_prior is not None:
            prior = self.mean_prior.to(restored.dtype).expand(expected)
            prior = prior[:, :, None, None] if self.sees_map else prior
        if prior is None:
            raise ValueError(f"prior: expected {expected}, got none, and this refiner holds no mean to use instead")
        if prior.shape[:2] != expected or prior.ndim != (4 if self.sees_map else 2):
            raise ValueError(f"prior: expected {expected}, got {tuple(prior.shape)}; it was made by another model")
        return prior

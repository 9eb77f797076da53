"""A pretext of one's own: find the colours of an image that has lost them."""

from torch import Tensor
from torch.nn import functional as F

from gesso import Backbone, Pretext


class Colours(Pretext):
    """Colours from grey.

    Args:
        backbone: the network, unchanged.
        share: how much of the colours is taken away, in [0, 1].
    """

    images = "leaves"

    def __init__(self, backbone: Backbone, *, share: float = 1.0) -> None:
        super().__init__(backbone)
        self.share = share

    def forward(self, batch: dict[str, Tensor], generator: object) -> dict[str, Tensor]:
        """Losses of one step: `loss`, the mean absolute error."""
        return {"loss": F.l1_loss(self.encode(self.fade(batch["image"])), batch["image"])}

    def fade(self, image: Tensor) -> Tensor:
        """The image (B, 3, H, W) with less colour."""
        return image.lerp(image.mean(1, keepdim=True).expand_as(image), self.share)

    def restored(self, image: Tensor) -> Tensor:
        """What the network makes of an image."""
        return self.encode(image)

    def preview(self, batch: dict[str, Tensor], generator: object) -> dict[str, Tensor]:
        """Pictures for sample sheets."""
        faded = self.fade(batch["image"])
        found = {"original": batch["image"], "faded": faded, "restored": self.restored(faded).detach()}
        return {name: image.clamp(0, 1) for name, image in found.items()}

"""Training of a refiner behind a restorer."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import Dataset

from gesso.data.datasets import Key, PairDataset, Sample, shuffled
from gesso.data.image_ref import ImageRef
from gesso.functional.random import BatchGenerator
from gesso.refiner import Refined
from gesso.training.finetune_module import FinetuneModule


class PriorDataset(Dataset[Sample]):
    """Crops of pairs and what a prior says of the whole degraded image: samples of `pairs`, and `prior` (D,).

    Args:
        pairs: the crops.
        features: prior features by degraded image; it may be filled in later, before the first sample is asked.
    """

    def __init__(self, pairs: PairDataset, features: Mapping[ImageRef, Tensor]) -> None:
        self.pairs, self.features = pairs, features

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: Key) -> Sample:
        pair = self.pairs.pairs[shuffled(key[0], len(self), self.pairs.seed)]
        return self.pairs[key] | {"prior": self.features[pair.lq]}


class RefineModule(FinetuneModule):
    """Trains a refiner, and the restorer before it unless that is frozen: both images are to be like gt (equation 8).

    Args:
        refined: restorer and refiner.
        others: what `FinetuneModule` takes.
        restored_weight: factor of the loss of the restorer's own output; 1 as in the paper.
        look_ahead: what has the prior look at images before the first step, on the device that it is given; None: no
            prior.
    """

    def __init__(
        self,
        refined: Refined,
        *others: Any,
        restored_weight: float = 1.0,
        look_ahead: Callable[[torch.device], None] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(refined, *others, **more)
        self.restored_weight, self.look_ahead = restored_weight, look_ahead

    def get_ready(self) -> None:
        """Precomputes prior features, once."""
        if self.look_ahead is not None:
            self.look_ahead(self.device)
            self.look_ahead = None

    def losses(self, batch: dict[str, Any], generator: BatchGenerator) -> dict[str, Tensor]:
        """The losses between ground truth and refined image, and between ground truth and restored image."""
        net = cast(Refined, self.backbone)
        if not any(parameter.requires_grad for parameter in net.backbone.parameters()):
            net.backbone.eval()  # a frozen restorer must not draw stochastic depth either
        restored, refined = net.both(batch["lq"], batch.get("prior"))
        losses = {"refined": self.loss(refined, batch["gt"]), "restored": self.loss(restored, batch["gt"])}
        return {"loss": losses["refined"] + self.restored_weight * losses["restored"], **losses}

    @torch.no_grad()
    def preview(self, batch: dict[str, Any], generator: BatchGenerator) -> dict[str, Tensor]:
        """Input, restored, refined and ground truth of a batch."""
        net, lq = cast(Refined, self.deliverable), batch["lq"]
        net.eval()
        restored, refined = net.both(lq, batch.get("prior"))
        self.backbone.train()
        return {"input": lq, "restored": restored, "refined": refined, "ground truth": batch["gt"]}

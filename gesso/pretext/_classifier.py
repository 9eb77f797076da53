"""DCPT's degradation classifier, which reads the decoder features of a restoration network, and its focal loss."""

import re
from collections.abc import Mapping, Sequence
from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gesso.functional.spectrum import full_precision


class DegradationClassifier(nn.Module):
    """Logits (B, num_classes) from feature maps of one network, finest first.

    Level by level: add the weighted map, two bottleneck blocks, halve (DCPT, section 3.2; MaskDCPT, section 3.2).
    Names of submodules are those of the official class.

    Args:
        feature_dims: channels of the maps, finest first.
        num_classes: kinds of degradation.
        num_res_blocks: blocks of each level.
        with_image: begin with an embedding of the degraded image at half its size instead of with zero.
    """

    def __init__(
        self, feature_dims: Sequence[int], num_classes: int, num_res_blocks: int = 2, *, with_image: bool = False
    ) -> None:
        super().__init__()
        self.feature_dims = list(feature_dims)
        first, last = feature_dims[0], feature_dims[-1]
        following = [*feature_dims[1:], last]
        self.mixing_weights = nn.Parameter(torch.ones(len(feature_dims)))
        self.bottleneck_layers = nn.ModuleList(stage(width, num_res_blocks) for width in feature_dims)
        self.downsample_layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, wider, 1, bias=False), nn.MaxPool2d(2), nn.ReLU())
            for width, wider in zip(feature_dims, following, strict=True)
        )
        self.last_stage = stage(last, num_res_blocks)
        self.fc = nn.Linear(last, num_classes)
        embed = nn.Sequential(nn.Conv2d(3, first, 7, stride=2, padding=3), ChannelNorm(first))
        self.conv_embed = embed if with_image else None
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, features: Sequence[Tensor], image: Tensor | None = None) -> Tensor:
        """The logits.

        Args:
            features: maps (B, C_i, H_i, W_i), finest first; one that does not have the size of its level, half of the
                one before, is resized to it (nearest neighbour).
            image: degraded image (B, 3, H, W), where the classifier has been built `with_image`.
        """
        return self.fc(self.summary(features, image).mean((-2, -1)))

    def summary(self, features: Sequence[Tensor], image: Tensor | None = None) -> Tensor:
        """The map (B, C, h, w) whose mean is classified."""
        summary = self.conv_embed(image) if self.conv_embed is not None else torch.zeros_like(features[0])
        levels = zip(
            self.mixing_weights.softmax(0), features, self.bottleneck_layers, self.downsample_layers, strict=True
        )
        for weight, feature, blocks, downsample in levels:
            if feature.shape[-2:] != summary.shape[-2:]:
                feature = F.interpolate(feature, summary.shape[-2:], mode="nearest")
            summary = downsample(blocks(summary + weight * feature))
        return self.last_stage(summary)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Self:
        """The classifier that a state dict belongs to, its weights loaded; sizes are read off the shapes.

        Raises:
            ValueError: if the state belongs to something else.
        """
        levels = [key for key in state if re.fullmatch(r"downsample_layers\.\d+\.0\.weight", key)]
        if not levels or "fc.weight" not in state:
            raise ValueError(
                "expected a degradation classifier (downsample_layers, fc), found " + ", ".join([*state][:3])
            )
        dims = [state[f"downsample_layers.{level}.0.weight"].shape[1] for level in range(len(levels))]
        blocks = len({key.split(".")[1] for key in state if key.startswith("last_stage.")})
        classifier = cls(dims, len(state["fc.weight"]), blocks, with_image="conv_embed.0.weight" in state)
        classifier.load_state_dict(state)
        return classifier


class Bottleneck(nn.Module):
    """A residual bottleneck that widens: (B, width, H, W) stays so."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = NormedConv(width, 2 * width, 1)
        self.conv2 = NormedConv(2 * width, 2 * width, 3)
        self.conv3 = NormedConv(2 * width, width, 1)

    def forward(self, feature: Tensor) -> Tensor:
        """The feature after the block."""
        return F.relu(feature + self.conv3(F.relu(self.conv2(F.relu(self.conv1(feature))))))


def stage(width: int, blocks: int) -> nn.Sequential:
    """Bottleneck blocks in a row."""
    return nn.Sequential(*(Bottleneck(width) for _ in range(blocks)))


class NormedConv(nn.Conv2d):
    """A convolution without bias that keeps the size, and a norm over channels behind it."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
        self.norm = ChannelNorm(out_channels)

    def forward(self, input: Tensor) -> Tensor:
        """The normalised map."""
        return self.norm(super().forward(input))


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each pixel of a map (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, input: Tensor) -> Tensor:
        """The normalised map."""
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def focal_loss(
    logits: Tensor,
    label: Tensor,
    gamma: float = 2.0,
    alpha: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Literal["mean", "sum", "none"] = "mean",
) -> Tensor:
    """`alpha[label] * (1 - p)^gamma * (-ln p)` with p the probability of the label; gamma 0 is cross-entropy.

    Lin et al., "Focal loss for dense object detection", ICCV 2017.

    Args:
        logits: (B, K) or (B, K, ...).
        label: (B,) or (B, ...), integers.
        gamma: how little an item counts that is classified well.
        alpha: weight of each class (K,).
        ignore_index: items with this label are left out.
        reduction: plain mean or sum over the items that are left, or "none", one value for each.
    """
    label = label.flatten()
    counted = label != ignore_index
    log_probs = full_precision(logits).movedim(1, -1).flatten(0, -2)[counted].log_softmax(dim=-1)
    label = label[counted]
    log_p = log_probs.gather(1, label[:, None]).squeeze(1)
    items = -((1 - log_p.exp()) ** gamma) * log_p
    if alpha is not None:
        items = alpha[label] * items
    return items if reduction == "none" else items.mean() if reduction == "mean" else items.sum()

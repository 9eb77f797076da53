"""IPT: a transformer encoder and decoder between convolutional heads and tails, one of each for every task.

Paper: Chen et al., "Pre-Trained Image Processing Transformer", CVPR 2021. Names of parameters are those of the official
code. The position and task embeddings are tables with a row for each token, so the body knows one image size only,
`patch_size`; larger images are cut into patches and joined (`stitch`).
"""

import copy
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from gesso.backbones._base import Backbone, Embeddings, check_residual
from gesso.backbones._blocks import DIV2K_MEAN, pixel_shuffles
from gesso.functional.attention import attention
from gesso.functional.checks import check_choice
from gesso.functional.mimetic import AttentionWeights
from gesso.functional.onednn import Linear, linear
from gesso.functional.padding import pad
from gesso.functional.tiles import spans, weights

Stitch = Literal["fast", "official", "none"]
TILES_AT_ONCE = 64  # of 48 x 48 pixels, as in the official test; fewer if they are larger


# --------------------------------------------------------------------------------------------------- transformer


class Attention(nn.Module):
    """Multi-head attention without biases, under the names of PyTorch's own, whose weights nobody asks to see here."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.out_proj = Linear(dim, dim, bias=False)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """What each token of `query` (B, N, D) takes from the values, by its similarity to the keys."""
        # The decoder's layers all project one memory. A single product for all of them was measured to be slower, since
        # it joins their weights first, and it holds the keys and values of all layers at a time.
        q, k, v = (
            linear(tokens, weight).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for tokens, weight in zip((query, key, value), self.in_proj_weight.chunk(3), strict=True)
        )
        return self.out_proj(attention(q, k, v).transpose(1, 2).flatten(2))

    def attention_weights(self) -> AttentionWeights:
        """The weights of this layer, see `Backbone.draw_mimetic`."""
        query, key, value = self.in_proj_weight.chunk(3)
        return AttentionWeights(query, key, value, self.out_proj.weight, self.heads)


class EncoderLayer(nn.Module):
    """Self-attention, then a perceptron, each on normalised tokens and added to them (paper, equation 3)."""

    def __init__(self, dim: int, heads: int, no_norm: bool) -> None:
        super().__init__()
        self.self_attn = Attention(dim, heads)
        nn.init.kaiming_uniform_(self.self_attn.in_proj_weight, a=math.sqrt(5))
        self.linear1, self.linear2 = Linear(dim, 4 * dim), Linear(4 * dim, dim)
        self.norm1, self.norm2 = (nn.Identity() if no_norm else nn.LayerNorm(dim) for _ in range(2))

    def forward(self, z: Tensor, position: Tensor | None) -> Tensor:
        """Tokens (B, N, D) after this layer; `position` is added to queries and keys."""
        a = self.norm1(z)
        placed = plus(a, position)
        z = z + self.self_attn(placed, placed, a)
        return z + self.linear2(self.linear1(self.norm2(z)).relu())


class DecoderLayer(nn.Module):
    """Self-attention, attention to the encoder's tokens, then a perceptron, each added to the tokens it works on.

    Paper, equation 4, which also normalises the encoder's tokens; the official code takes them as they are.
    """

    def __init__(self, dim: int, heads: int, no_norm: bool) -> None:
        super().__init__()
        self.self_attn = Attention(dim, heads)
        self.multihead_attn = Attention(dim, heads)
        self.linear1, self.linear2 = Linear(dim, 4 * dim), Linear(4 * dim, dim)
        self.norm1, self.norm2, self.norm3 = (nn.Identity() if no_norm else nn.LayerNorm(dim) for _ in range(3))

    def forward(self, z: Tensor, memory: Tensor, position: Tensor | None, task: Tensor | None) -> Tensor:
        """Tokens (B, N, D) after this layer; `task` is added to queries, and to the keys of self-attention."""
        a = self.norm1(z)
        asked = plus(a, task)
        z = z + self.self_attn(asked, asked, a)
        z = z + self.multihead_attn(plus(self.norm2(z), task), plus(memory, position), memory)
        return z + self.linear2(self.linear1(self.norm3(z)).relu())


class Body(nn.Module):
    """The transformer: a map in, a map of the same shape out (paper, section 3.1)."""

    def __init__(
        self, n_feats: int, patch_size: int, patch_dim: int, num_heads: int, num_layers: int, num_queries: int,
        no_norm: bool, no_mlp: bool, pos_every: bool, no_pos: bool, fixed_pos: bool, no_task: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        dim, tokens = n_feats * patch_dim**2, (patch_size // patch_dim) ** 2
        self.patch_dim, self.tokens, self.pos_every = patch_dim, tokens, pos_every
        self.linear_encoding = None if no_mlp else Linear(dim, dim)
        # The official code has dropouts of 0 in second and last place.
        perceptron = (Linear(dim, 4 * dim), nn.Identity(), nn.ReLU(), Linear(4 * dim, dim))
        self.mlp_head = None if no_mlp else nn.Sequential(*perceptron)
        self.query_embed = None if no_mlp or no_task else nn.Embedding(num_queries, dim * tokens)
        self.encoder = stack(EncoderLayer(dim, num_heads, no_norm), num_layers)
        self.decoder = stack(DecoderLayer(dim, num_heads, no_norm), num_layers)
        self.position_encoding = None if no_pos else nn.ModuleDict({"pe": nn.Embedding(tokens, dim)})
        if self.position_encoding is not None and fixed_pos:
            table = self.position_encoding.get_parameter("pe.weight").requires_grad_(False)
            table.data = sine_positions(patch_size // patch_dim, dim).to(table)

    def forward(self, feature: Tensor, task: int) -> Tensor:
        """The map (B, n_feats, patch_size, patch_size) that the decoder makes of another."""
        z = cut(feature, self.patch_dim).flatten(2)
        if self.linear_encoding is not None:
            z = self.linear_encoding(z) + z
        position = None if self.position_encoding is None else self.position_encoding.get_parameter("pe.weight")
        asked = None if self.query_embed is None else self.query_embed.weight[task].view(self.tokens, -1)
        if not self.pos_every:
            z, position = plus(z, position), None
        for layer in self.encoder["layers"].children():
            z = layer(z, position)
        memory = z
        for layer in self.decoder["layers"].children():
            z = layer(z, memory, position, asked)
        if self.mlp_head is not None:
            z = self.mlp_head(z) + z
        return join(z.unflatten(-1, (-1, self.patch_dim, self.patch_dim)), feature.shape[-1] // self.patch_dim)


def sine_positions(side: int, dim: int) -> Tensor:
    """Sines and cosines of the row and of the column of each of side * side tokens, (tokens, dim), row by row.

    Half of the channels for each, of wavelengths from 2 pi to 20,000 pi (Vaswani et al., 2017; for two axes Carion et
    al., ECCV 2020).
    """
    half = -(-dim // 2)
    rates = 10_000 ** (-2 * torch.arange(-(-half // 2), dtype=torch.float64) / half)
    angles = torch.arange(side, dtype=torch.float64)[:, None] * rates
    axis = torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :half]  # (side, half)
    rows, columns = axis[:, None].expand(-1, side, -1), axis[None].expand(side, -1, -1)
    return torch.cat([rows, columns], -1).flatten(0, 1)[:, :dim].float()


def plus(tokens: Tensor, embedding: Tensor | None) -> Tensor:
    """Tokens (B, N, D) and an embedding (N, D), where there is one."""
    return tokens if embedding is None else tokens + embedding


def stack(layer: nn.Module, depth: int) -> nn.ModuleDict:
    """Copies of a layer, which therefore begin alike, as in the official code."""
    return nn.ModuleDict({"layers": nn.ModuleList(copy.deepcopy(layer) for _ in range(depth))})


def cut(image: Tensor, side: int) -> Tensor:
    """Patches (B, patches, C, side, side) of maps (B, C, H, W), row by row."""
    batch, channels, height, width = image.shape
    patches = image.reshape(batch, channels, height // side, side, width // side, side)
    return patches.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)


def join(patches: Tensor, columns: int) -> Tensor:
    """Maps (B, C, H, W) from patches (B, patches, C, side, side), `columns` of them in a row; undoes `cut`."""
    return patches.unflatten(1, (-1, columns)).permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


# --------------------------------------------------------------------------------------------------- whole images


class Strip(NamedTuple):
    """Where patches lie along one axis: from which pixels of the image, to which of the output, and what they count."""

    source: slice
    target: slice
    weight: Tensor  # one number for every pixel of the target; the strips of an axis add up to 1 at every pixel
    upper: Tensor | None = None  # the same for columns in the first `frame` rows, where these count otherwise
    frame: int = 0


def tile_weight(row: Strip, column: Strip) -> Tensor:
    """What each pixel of a patch's output counts, (height, width); the patches of an image add up to 1 everywhere."""
    weight = row.weight[:, None] * column.weight
    if column.upper is not None and row.source.start == 0:
        weight[: column.frame] = row.weight[: column.frame, None] * column.upper
    return weight


def plan_fast(size: int, patch: int, scale: int) -> list[Strip]:
    """Patches along an axis that overlap by 10 in 48 pixels, as in the paper, faded in the middle of the overlap."""
    sources = spans(size, patch, overlap=patch * 10 // 48)
    targets = [(start * scale, stop * scale) for start, stop in sources]
    return [
        Strip(slice(*source), slice(*target), weight)
        for source, target, weight in zip(sources, targets, weights(targets), strict=True)
    ]


def plan_official(size: int, patch: int, scale: int) -> list[Strip]:
    """Patches along an axis as the official code cuts them: every quarter of a patch, and one at the end.

    Of each the middle half counts, averaged. The first quarter of the axis is the first patch's alone, and what lies
    behind the middle of the overlap of the regular patches with the one at the end is the latter's alone. In the first
    quarter of a patch of rows, the whole first patch of columns is: the strip of patches along the left border is put
    over the one along the upper border, as wide as a patch.
    """
    step = patch // 4
    rest = (size - patch) % step
    regular = range(0, size - rest - patch + 1, step)
    starts = sorted({*regular, size - patch})
    share = torch.zeros(len(starts), size * scale, dtype=torch.float32)
    for number in range(len(regular)):
        share[number, (regular[number] + step) * scale : (regular[number] + patch - step) * scale] = 1
    share /= share.sum(0).clamp(min=1)
    upper = share.clone()
    end = (size - rest) * scale - (patch - rest) * scale // 2
    for counted, alone in ((share, step * scale), (upper, patch * scale)):
        counted[:, :alone] = 0
        counted[0, :alone] = 1
        counted[:, end:] = 0
        counted[-1, end:] = 1
    targets = [slice(start * scale, (start + patch) * scale) for start in starts]
    return [
        Strip(slice(start, start + patch), target, share[number, target], upper[number, target], step * scale)
        for number, (start, target) in enumerate(zip(starts, targets, strict=True))
    ]


# ---------------------------------------------------------------------------------------------------------- network


class ResidualBlock(nn.Module):
    """Two convolutions of a head, added to what goes into them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        first, second = (nn.Conv2d(channels, channels, 5, padding=2) for _ in range(2))
        self.body = nn.Sequential(first, nn.ReLU(), second)

    def forward(self, x: Tensor) -> Tensor:
        """A map of the same shape."""
        return x + self.body(x)


class IPT(Backbone):
    """IPT with any number of tasks, of which `task` is the one that the network does at present.

    `task` selects head, tail and query together. The published six-task network has them in the order 2, 3 and 4 times
    super-resolution, rain, noise of sigma 30 and of 50.

    The body takes patches of `patch_size` pixels. `features` and `reconstruct` take any number of them side by side,
    each on its own but for the last convolution. A whole image is restored in overlapping patches (`stitch`):

    * "fast": an overlap of 10 in 48 pixels, as the paper tests, faded from patch to patch.
    * "official": as the official code tests (`forward_chop`), whatever the paper says: patches every 12 of 48 pixels,
      of each of which the middle 24 are kept and averaged; a frame 12 pixels wide, and a strip along the right and
      lower end, come from the patches along the border alone. About ten times the work of "fast".
    * "none": patches side by side, no averaging, and so in training, whatever is set.

    Args:
        n_feats: channels of heads, body and tails.
        n_colors: channels of the image.
        out_channels: channels of the output; None = `n_colors`.
        rgb_range: the network works on images times this.
        patch_size: side in pixels of the images that the body takes.
        patch_dim: side in pixels of a token.
        num_heads: attention heads.
        num_layers: layers of the encoder, and as many of the decoder.
        num_queries: task embeddings.
        scale: of each task, output side / input side: 1, 2, 3, 4 or 8.
        no_norm: leave out the layer norms.
        no_mlp: leave out the perceptrons before and behind the transformer, and the task embeddings.
        pos_every: add the position embedding in every attention and not once before the encoder.
        no_pos: leave out the position embedding.
        fixed_pos: position embeddings that are not learnt (appendix D, which does not say which): sines and cosines of
            row and column. A file holds them as it holds learnt ones.
        no_task: leave out the task embeddings alone (appendix D).
        image_residual: whether the input image is added to the output, where all scales are 1; the paper does not.
        stitch: how images of other sizes are restored: "fast", "official" or "none".
        task: number of the task to begin with.
    """

    variants: ClassVar[dict[str, dict[str, Any]]] = {
        **{f"ipt_x{scale}": {"scale": [scale]} for scale in (1, 2, 3, 4)},
        "ipt_multi": {"num_queries": 6, "scale": [2, 3, 4, 1, 1, 1]},
        "ipt_deblur": {"n_feats": 9, "patch_size": 256, "patch_dim": 8},
        "ipt_tiny": {"n_feats": 16, "patch_size": 16, "patch_dim": 2, "num_heads": 4, "num_layers": 2},
    }
    stages = (0,)
    tile_overlap, float32_sums = 8, True
    input_option = "n_colors"
    constant_keys = ("sub_mean.", "add_mean.")
    find_unused_parameters = True

    def __init__(
        self,
        n_feats: int = 64,
        n_colors: int = 3,
        out_channels: int | None = None,
        rgb_range: float = 255.0,
        patch_size: int = 48,
        patch_dim: int = 3,
        num_heads: int = 12,
        num_layers: int = 12,
        num_queries: int = 1,
        scale: Sequence[int] = (1,),
        no_norm: bool = False,
        no_mlp: bool = False,
        pos_every: bool = False,
        no_pos: bool = False,
        image_residual: bool = False,
        stitch: Stitch = "fast",
        task: int = 0,
        fixed_pos: bool = False,
        no_task: bool = False,
    ) -> None:
        super().__init__()
        if patch_size % patch_dim:
            raise ValueError(f"patch_size: expected a multiple of patch_dim = {patch_dim}, got {patch_size}")
        if n_feats * patch_dim**2 % num_heads:
            raise ValueError(f"num_heads: expected a divisor of {n_feats * patch_dim**2} channels, got {num_heads}")
        if not set(scale) <= {1, 2, 3, 4, 8} or not scale:
            raise ValueError(f"scale: expected 1, 2, 3, 4 or 8 for each task, got {list(scale)}")
        self.stitch: Stitch = check_choice("stitch", stitch, Stitch)
        self.scales, self.rgb_range, self.token_size = list(scale), rgb_range, patch_dim
        self.queries = math.inf if no_mlp or no_task else num_queries
        self.in_channels, self.out_channels = n_colors, out_channels or n_colors
        self.image_residual = self._check_residual(image_residual, self.out_channels)
        self.size_multiple, self.channels = patch_size, [n_feats, n_feats]
        self.stem_keys = tuple(f"head.{number}.0." for number in range(len(scale)))

        self.sub_mean, self.add_mean = mean_shift(n_colors, -rgb_range), mean_shift(n_colors, rgb_range)
        self.head = nn.ModuleList(
            nn.Sequential(nn.Conv2d(n_colors, n_feats, 3, padding=1), ResidualBlock(n_feats), ResidualBlock(n_feats))
            for _ in scale
        )
        self.body = Body(
            n_feats, patch_size, patch_dim, num_heads, num_layers, num_queries, no_norm, no_mlp, pos_every, no_pos,
            fixed_pos, no_task,
        )  # fmt: skip
        self.tail = nn.ModuleList(
            nn.Sequential(pixel_shuffles(n_feats, s), nn.Conv2d(n_feats, self.out_channels, 3, padding=1))
            for s in scale
        )
        self.task = task

    @property
    def task(self) -> int:
        """Number of the task that the network does: which head, tail and query."""
        return self._task

    @task.setter
    def task(self, task: int) -> None:
        last = min(len(self.scales), self.queries) - 1
        if not 0 <= task <= last:
            raise ValueError(f"task: expected 0 to {last}, got {task}")
        self._task, self.scale = task, self.scales[task]
        others = [number for number in range(len(self.scales)) if number != task]
        self.head_keys = tuple(f"tail.{number}.1." for number in [task, *others])  # `last` is the first of them
        if hasattr(self, "options"):
            self.options["task"] = task  # for files and twins

    def embeddings(self) -> Embeddings | None:
        """Those of the tokens of a patch and, where it does several, of its tasks; None without the former."""
        if self.body.position_encoding is None:
            return None
        queries, tasks = self.body.query_embed, None
        if queries is not None and len(queries.weight) > 1:
            tasks = queries.weight.detach().unflatten(1, (self.body.tokens, -1))
        names = [f"{number}: x{scale}" for number, scale in enumerate(self.scales)]
        if self.scales == [2, 3, 4, 1, 1, 1]:
            names = ["x2", "x3", "x4", "rain", "noise 30", "noise 50"]  # the published order
        return Embeddings(self.body.position_encoding.get_parameter("pe.weight").detach(), tasks, names)

    def features(self, image: Tensor) -> list[Tensor]:
        """What the transformer makes of the image (B, n_feats, H, W), and the input of the last convolution.

        The latter has the size of the output. Patches of the former, `patch_dim` pixels wide, are the tokens whose
        similarity the contrastive loss of the paper compares (equation 5).
        """
        columns = image.shape[-1] // self.size_multiple
        patches = cut(image, self.size_multiple)
        shifted = patches.flatten(0, 1) * self.rgb_range + self.sub_mean.get_parameter("bias").view(-1, 1, 1)
        shallow = self.head[self.task](shifted.contiguous(memory_format=torch.channels_last))
        deep = self.body(shallow, self.task)
        enlarged = cast("nn.Sequential", self.tail[self.task])[0](deep + shallow)
        return [join(maps.unflatten(0, patches.shape[:2]), columns) for maps in (deep, enlarged)]

    def reconstruct(self, feature: Tensor, image: Tensor) -> Tensor:
        """The last convolution, back on the range of the image."""
        restored = self.head_conv(feature)
        if self.image_residual:
            return image + restored / self.rgb_range
        if self.out_channels == self.in_channels:
            restored = restored + self.add_mean.get_parameter("bias").view(-1, 1, 1)
        return restored / self.rgb_range

    def replace_last(self, out_channels: int, *, image_residual: bool) -> None:
        """Puts freshly initialised last convolutions of `out_channels` in place, one for each task."""
        self._check_residual(image_residual, out_channels)
        super().replace_last(out_channels, image_residual=image_residual)

    def input_mean(self, channels: int) -> Tensor:
        """The mean of DIV2K, which is taken off RGB images."""
        return self.rgb_range * torch.tensor(DIV2K_MEAN) if channels == 3 else super().input_mean(channels)

    def output_mean(self, channels: int) -> Tensor:
        """The same, which is added where the image is not."""
        return super().output_mean(channels) if self.image_residual else self.input_mean(channels)

    def _check_residual(self, image_residual: bool, out_channels: int) -> bool:
        if image_residual and set(self.scales) != {1}:
            raise ValueError(
                f"image_residual: expected False, for outputs are {self.scales} times as large as the image"
            )
        return check_residual(image_residual, self.in_channels, out_channels)

    # ----------------------------------------------------------------------------------------------- whole images

    def forward(self, image: Tensor) -> Tensor:
        """The restored image (B, out_channels, scale*H, scale*W), unclamped, for `image` (B, C, H, W) of any size."""
        if self.training or self.stitch == "none":
            return super().forward(image)
        height, width = image.shape[-2:]
        image = pad(image, 0, max(self.size_multiple - width, 0), 0, max(self.size_multiple - height, 0), self.pad_mode)
        plan = plan_fast if self.stitch == "fast" else plan_official
        rows, columns = (plan(side, self.size_multiple, self.scale) for side in image.shape[-2:])
        tiles = [(row, column) for row in rows for column in columns]
        restored = image.new_zeros(len(image), self.out_channels, *(self.scale * side for side in image.shape[-2:]))
        at_once = max(TILES_AT_ONCE * 48**2 // self.size_multiple**2 // len(image), 1)
        for first in range(0, len(tiles), at_once):
            self._add(restored, image, tiles[first : first + at_once])
        return restored[..., : self.scale * height, : self.scale * width]

    def _add(self, restored: Tensor, image: Tensor, tiles: Sequence[tuple[Strip, Strip]]) -> None:
        """Restores some tiles of an image and adds them, weighted, to `restored`."""
        pieces = torch.cat([image[..., row.source, column.source] for row, column in tiles])
        outputs = super().forward(pieces).unflatten(0, (len(tiles), -1))
        for (row, column), output in zip(tiles, outputs, strict=True):
            restored[..., row.target, column.target] += output * tile_weight(row, column).to(output)

    # -------------------------------------------------------------------------------------------- the authors' files

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Constructor options deduced from tensor names and shapes, or None if this is another network.

        Guessed, for nothing in a file shows them: `num_heads`, 12, and `pos_every` and `fixed_pos`, False.
        """
        if "body.encoder.layers.0.self_attn.in_proj_weight" not in state or "head.0.0.weight" not in state:
            return None
        n_feats, n_colors = state["head.0.0.weight"].shape[:2]
        dim = state["body.encoder.layers.0.self_attn.in_proj_weight"].shape[1]
        patch_dim = math.isqrt(dim // n_feats)
        query, position = state.get("body.query_embed.weight"), state.get("body.position_encoding.pe.weight")
        if query is not None:
            patch_size = patch_dim * math.isqrt(query.shape[1] // dim)
        else:
            patch_size = 48 if position is None else patch_dim * math.isqrt(len(position))
        out_channels = len(state["tail.0.1.weight"])
        mean = state["sub_mean.bias"]
        return {
            "n_feats": n_feats,
            "n_colors": n_colors,
            "out_channels": None if out_channels == n_colors else out_channels,
            "rgb_range": 255.0 if mean.is_meta else float(round(-mean[0].item() / DIV2K_MEAN[0])),
            "patch_size": patch_size,
            "patch_dim": patch_dim,
            "num_layers": len({key.split(".")[3] for key in state if key.startswith("body.encoder.layers.")}),
            "num_queries": 1 if query is None else len(query),
            "scale": cls._recognise_scales(state),
            "no_norm": "body.encoder.layers.0.norm1.weight" not in state,
            "no_mlp": "body.linear_encoding.weight" not in state,
            "no_pos": position is None,
            "no_task": query is None and "body.linear_encoding.weight" in state,
        }

    @staticmethod
    def _recognise_scales(state: Mapping[str, Tensor]) -> list[int]:
        """`scale` of a file: every pixel shuffle of a tail follows a convolution with as many times more channels."""
        scales = [1] * len({key.split(".")[1] for key in state if key.startswith("tail.")})
        for key, weight in state.items():
            if found := re.fullmatch(r"tail\.(\d+)\.0\.\d+\.weight", key):
                scales[int(found[1])] *= math.isqrt(weight.shape[0] // weight.shape[1])
        return scales

    @classmethod
    def from_official(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state of an official file without its count of the tokens."""
        return {key: value for key, value in state.items() if key != "body.position_encoding.position_ids"}

    def to_official(self) -> dict[str, Tensor]:
        """The state that the authors' class loads strictly: ours, and 0, 1, 2 ... for the tokens."""
        official: dict[str, Tensor] = {}
        for key, value in super().to_official().items():
            if key == "body.position_encoding.pe.weight":
                official["body.position_encoding.position_ids"] = torch.arange(len(value))[None]
            official[key] = value
        return official

    def official_file(self) -> dict[str, Any]:
        """The state alone: the authors' files have nothing around it."""
        return dict(self.to_official())


def mean_shift(channels: int, rgb_range: float) -> nn.Conv2d:
    """The official code's way to add the mean of DIV2K: a 1x1 convolution that is never trained. We add its bias."""
    shift = nn.Conv2d(channels, channels, 1).requires_grad_(False)
    nn.init.dirac_(shift.weight)
    mean = torch.tensor(DIV2K_MEAN) if channels == 3 else torch.zeros(channels)
    shift.bias = nn.Parameter(rgb_range * mean, requires_grad=False)
    return shift

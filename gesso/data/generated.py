"""Images of a source (see `gesso.sources`) as training samples, also among others, and whole ones to measure on."""

import sys
from fractions import Fraction
from pathlib import Path

from torch.utils.data import Dataset

from gesso._specs import SourceSpec
from gesso.data.datasets import Key, Sample, degrade, shuffled, stack
from gesso.degradations import Degradation
from gesso.sources import count_of, draw_image, open_source, spell_source


class GeneratedImages(Dataset[Sample]):
    """Images of a source for pretexts: `dataset[(index, crop_size)]` is `{"image": (3, c, c), "name"}`.

    Args:
        source: where they come from; "noise" are a few fixed images that take turns, in random order.
        seed: the images follow from it.
        count: how many different images there are; None: what the source says, else unlimited.
        channels: channels of an image.
        per_sample: images that one sample holds, K in `image` (K, 3, c, c).
    """

    def __init__(
        self, source: SourceSpec, seed: int = 0, *, count: int | None = None, channels: int = 3, per_sample: int = 1
    ) -> None:
        self.source, self.name = open_source(source), spell_source(source)
        usual = count_of(self.source)
        self.are_few = usual is not None
        if count is None and usual is not None:
            count = max(usual, per_sample)
        if count is not None and count < per_sample:
            why = "image" if per_sample == 1 else f"images, for this pretext compares {per_sample} images"
            raise ValueError(f"count: expected at least {per_sample} {why}, got {count} of {self.name}")
        self.seed, self.count, self.channels, self.per_sample = seed, count, channels, per_sample

    def __len__(self) -> int:
        return sys.maxsize if self.count is None else self.count

    def __getitem__(self, key: Key) -> Sample:
        index, crop_size = key
        positions = range(index * self.per_sample, (index + 1) * self.per_sample)
        numbers = [shuffled(p, len(self), self.seed) if self.are_few else p % len(self) for p in positions]
        images = [draw_image(self.source, self.seed, number, crop_size, self.channels) for number in numbers]
        return {"image": stack(images), "name": " + ".join(f"{self.name} {number}" for number in numbers)}


class GeneratedPairs(Dataset[Sample]):
    """Images of a source, each another, and what a degradation makes of them; samples as those of `PairDataset`.

    Args:
        source: where they come from; its images have to lie in [0, 1].
        degradation: makes `lq` from `gt`.
        scale: by how much it shrinks the image.
        channels: channels of a sample.
        seed: everything follows from it.
        count: what an epoch of a mix takes for the number of images, which are unlimited.

    Raises:
        ValueError: if images of the source do not lie in [0, 1].
    """

    def __init__(
        self,
        source: SourceSpec,
        degradation: Degradation,
        *,
        scale: int = 1,
        channels: int = 3,
        seed: int = 0,
        count: int = 1000,
    ) -> None:
        self.source, self.name = open_source(source, unit_range=True), spell_source(source)
        self.degradation, self.scale, self.channels = degradation, scale, channels
        self.seed, self.count = seed, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, key: Key) -> Sample:
        index, crop_size = key
        gt = draw_image(self.source, self.seed, index, self.scale * crop_size, self.channels)
        return {"lq": degrade(gt, self.degradation, self.seed, index), "gt": gt, "name": self.name_of(index)}

    def name_of(self, index: int) -> str:
        """What an image is called."""
        return f"{self.name} {index}"


class Rehearsal(Dataset[Sample]):
    """Samples with procedural ones among them, evenly, so that a network does not forget what it was pre-trained on.

    Source: rehearsal of earlier patterns among new ones, Robins, "Catastrophic forgetting, rehearsal and
    pseudorehearsal", Connection Science 1995.

    Args:
        samples: what is learnt; each comes as often as any other, and in the order that it would have alone.
        procedural: what is not to be forgotten; no image comes twice.
        share: of procedural samples, in [0, 1).
    """

    def __init__(self, samples: Dataset[Sample], procedural: GeneratedPairs, share: float) -> None:
        self.samples, self.procedural = samples, procedural
        self.share = Fraction(share).limit_denominator(1000)

    def __len__(self) -> int:
        return len(self.samples)  # pyright: ignore[reportArgumentType]  # all of ours have a length

    def __getitem__(self, key: Key) -> Sample:
        index, crop_size = key
        before = index * self.share.numerator // self.share.denominator
        if (index + 1) * self.share.numerator // self.share.denominator > before:
            return self.procedural[before, crop_size]
        return self.samples[index - before, crop_size]


class WholeGenerated(Dataset[Sample]):
    """Images of a source, of one size, to measure on; samples as those of `WholePairs`.

    Args:
        pairs: the images, with a seed that training does not use.
        count: how many.
        size: side of the ground truths in pixels, a multiple of the scale.
    """

    def __init__(self, pairs: GeneratedPairs, count: int = 8, size: int = 192) -> None:
        self.pairs, self.count, self.size = pairs, count, size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.count:
            raise IndexError(index)
        return self.pairs[index, self.size // self.pairs.scale]

    @property
    def names(self) -> list[str]:
        """What each is called."""
        return [self.pairs.name_of(index) for index in range(self.count)]

    def files(self, index: int) -> list[Path]:
        """None: images are made up."""
        return []

    def sizes(self) -> list[tuple[int, int] | None]:
        """As those of `WholePairs`."""
        side = self.size // self.pairs.scale
        return [(side, side)] * self.count

"""Where in a file a network may lie: under a prefix, beside losses and discriminators, averaged or not, in halves."""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path

import torch

from gesso.checkpoint.files import CheckpointError, State, join_names, rank, read_states

BESIDE = re.compile(
    r"(\w*_)?(loss(es)?(_\w+)?|criteri(on|a)|lpips|perceptual\w*|vgg\w*|metrics?|psnr|ssim|fid"
    r"|discriminator\w*|net_?d|n_averaged|step_counter)$",
    re.IGNORECASE,
)
"""First words of tensors that training codes keep in one module with the network, and that restore nothing."""

COUNTERS = (".total_ops", ".total_params")
"""What thop leaves in every layer whose operations it has counted."""

HALVES = ("encoder.", "decoder.")
"""A network and its decoder in files of MFM and IFP, whose Uformer keeps its own second half under the second."""


@dataclasses.dataclass(frozen=True)
class Part:
    """Tensors of a file that may be a network of their own.

    Attributes:
        place: where they lie: keys of dictionaries, then what their names begin with, joined by dots.
        state: the tensors, by what remains of their names.
        whole: the set of weights that they are a part of.
        names: their names in it.
    """

    place: str
    state: State
    whole: State
    names: frozenset[str]

    @property
    def left(self) -> list[str]:
        """Names of the set that are no part of this."""
        return [name for name in self.whole if name not in self.names]

    def equals(self, other: "Part") -> bool:
        """Whether both hold the same values."""
        if self.state.keys() != other.state.keys():
            return False
        return all(_equal(tensor, other.state[key]) for key, tensor in self.state.items())

    def overlaps(self, other: "Part") -> bool:
        """Whether one lies inside the other."""
        one, two = (f"{part.place}.".lstrip(".") for part in (self, other))
        return one.startswith(two) or two.startswith(one)


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one is other or (one.dtype == other.dtype and torch.equal(one, other))


def list_parts(states: Mapping[str, State]) -> Iterator[Part]:
    """Every part of a file that may be a network of its own, likelier sets and outer prefixes first.

    Prefixes are taken off the beginning of names only: `encoder.encoder_level1` loses one, `encoder_level1` none.
    """
    places: set[str] = set()
    for place, whole in states.items():
        for part in _parts_of(place, whole):
            places.add(part.place)
            yield part
    joined = {join_names(place, key): tensor for place, whole in states.items() for key, tensor in whole.items()}
    if "" not in states:  # halves of a network may lie under keys of their own
        yield from (part for part in _parts_of("", joined) if part.place not in places)


def _parts_of(place: str, whole: State) -> Iterator[Part]:
    """The parts of one set of weights."""
    inside: dict[str, dict[str, str]] = {"": {}}  # by prefix: names in the set, by what remains of them
    for name in whole:
        dots = [found.end() for found in re.finditer(r"\.", name)]
        for cut in (0, *dots):
            inside.setdefault(name[:cut], {})[name[cut:]] = name
    for prefix, names in sorted(inside.items(), key=lambda entry: entry[0].count(".")):
        within = join_names(place, prefix.rstrip(".")) if prefix else place
        yield from (Part(within, *_take(kept, whole)) for kept in _variants(names))


def _take(names: Mapping[str, str], whole: State) -> tuple[State, State, frozenset[str]]:
    """The tensors of a set under new names, the set, and their names in it."""
    return {key: whole[name] for key, name in names.items()}, whole, frozenset(names.values())


def _variants(names: dict[str, str]) -> Iterator[dict[str, str]]:
    """Names under a prefix; without what only training needs; and, in two halves, joined."""
    yield names
    needed = {key: name for key, name in names.items() if not _is_beside(key)}
    if 0 < len(needed) < len(names):
        yield needed
    first, second = ({key[len(half) :]: name for key, name in names.items() if key.startswith(half)} for half in HALVES)
    if first and second:
        yield second | first


def _is_beside(key: str) -> bool:
    """Whether a tensor stands beside the network that it was trained with."""
    return bool(BESIDE.match(key.split(".")[0])) or f".{key}".endswith(COUNTERS)


def read_part(path: str | Path, names: Set[str]) -> State:
    """The tensors of the part of a file that has the most of these names: a network other than the backbones.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if it is damaged, of another kind, holds no weights, or holds code.
    """
    return max(list_parts(read_states(path)), key=lambda part: len(names & part.state.keys())).state


def choose_part(parts: Sequence[Part], path: str | Path) -> tuple[Part, list[str]]:
    """The one to take of several that fit a network, and the places of others that do and differ.

    Averages come before the last iterate, and the usual keys before others (`files.rank`).

    Raises:
        CheckpointError: if several fit as well as each other.
    """
    best = min(parts, key=lambda part: rank(part.place))
    others = [part for part in parts if not part.overlaps(best) and not part.equals(best)]
    rivals = [part for part in others if rank(part.place) == rank(best.place)]
    if rivals:
        names = _shown(part.place for part in (best, *rivals))
        raise CheckpointError(
            f"{path}: holds {1 + len(rivals)} networks that fit: {names}; say which one, weights={best.place!r} in "
            f"Python or --weights {best.place}; where a command has no such option, write it to a file of its own with "
            f"`gesso export {path} one.pth --weights {best.place}`"
        )
    return best, list(dict.fromkeys(part.place for part in others))


def _shown(places: Iterable[str]) -> str:
    """Places for an error, the first eight."""
    places = list(dict.fromkeys(places))
    return ", ".join(map(repr, places[:8])) + (f" ... and {len(places) - 8} more" if len(places) > 8 else "")

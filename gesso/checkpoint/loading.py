"""From a file to a network: recognise it, load it whole, or take its features alone and say so."""

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from gesso import _discovery
from gesso.backbones import Backbone, backbone_classes, network_class
from gesso.backbones._channels import Adapted, adapt
from gesso.backbones._transfer import PaperTransfer
from gesso.checkpoint.files import CheckpointError, State, description, read_header, read_states, with_defaults
from gesso.checkpoint.parts import Part, choose_part, list_parts, read_part
from gesso.refiner._refined import Refined, recover_prior

FEWEST = 8
"""Tensors that any network has; what has fewer, as the state of an optimiser for each weight, need not be looked at."""


@dataclasses.dataclass(frozen=True)
class Recognised:
    """A network out of a file, and how it was recognised.

    Attributes:
        network: the network, with the weights of the file.
        header: what the file says of itself; {} for files of others.
        assumed: constructor options that the tensors of a foreign file do not tell, at their published default.
        left: tensors of the file that do not belong to the network.
        adapted: tensors that were made to fit images with other channels than the file's.
        place: where in the file the weights lie, where it holds several sets that fit.
        others: where the other sets lie.
    """

    network: Backbone
    header: dict[str, Any]
    assumed: dict[str, Any]
    left: list[str]
    adapted: Adapted | None = None
    place: str = ""
    others: Sequence[str] = ()

    def __str__(self) -> str:
        """One line for the terminal."""
        made, source = description(self.network), "header" if self.header else "tensors"
        text = f"{made['backbone']} ({made['variant'] or 'no published size'}), recognised by the {source} of the file"
        if self.assumed:
            assumed = ", ".join(f"{name}={value!r}" for name, value in self.assumed.items())
            text += f"; assumed, because tensors do not tell: {assumed}"
        return text + str(self.adapted or "") + _left(self.left) + _taken(self.place, self.others)


@dataclasses.dataclass(frozen=True)
class Report:
    """What `load_features` did.

    Attributes:
        loaded: tensors of the network that now hold the values of the file.
        relearned: tensors of the network that keep the values they had.
        left: tensors of the file that were not used.
        adapted: which of the loaded were made to fit images with other channels than the file's.
        place: where in the file the weights lie, where it holds several sets that fit.
        others: where the other sets lie.
    """

    loaded: list[str]
    relearned: list[str]
    left: list[str]
    adapted: Adapted | None = None
    place: str = ""
    others: Sequence[str] = ()

    def __str__(self) -> str:
        """One line for the terminal: `loaded 492/494 tensors, relearned 2: output.weight, output.bias`."""
        text = f"loaded {len(self.loaded)}/{len(self.loaded) + len(self.relearned)} tensors"
        if self.relearned:
            text += f", relearned {len(self.relearned)}: {_shortened(self.relearned)}"
        return text + str(self.adapted or "") + _left(self.left) + _taken(self.place, self.others)


@dataclasses.dataclass(frozen=True)
class Fit:
    """How a state fits a network, name by name: `loaded`, `missing` in the state, of another shape, or `unexpected`."""

    state: State
    loaded: list[str]
    missing: list[str]
    misshapen: list[str]
    unexpected: list[str]
    expected_shapes: dict[str, tuple[int, ...]]

    @classmethod
    def of(cls, net: nn.Module, state: State) -> Self:
        """The fit of `state` to `net`."""
        shapes = {key: tuple(tensor.shape) for key, tensor in net.state_dict().items()}
        shared = [key for key in shapes if key in state]
        return cls(
            state=state,
            loaded=[key for key in shared if tuple(state[key].shape) == shapes[key]],
            missing=[key for key in shapes if key not in state],
            misshapen=[key for key in shared if tuple(state[key].shape) != shapes[key]],
            unexpected=[key for key in state if key not in shapes],
            expected_shapes=shapes,
        )

    @property
    def misfits(self) -> list[str]:
        """Names that keep the state from being the network's own."""
        return self.missing + self.misshapen + self.unexpected

    def __str__(self) -> str:
        """A table: how many tensors are loaded, missing, misshapen and unexpected, and which."""
        sizes = [f"{k} {tuple(self.state[k].shape)}, expected {self.expected_shapes[k]}" for k in self.misshapen]
        rows = {"missing": self.missing, "misshapen": sizes, "unexpected": self.unexpected}
        lines = [f"  {name:<10} {len(names):>4}  {_shortened(names)}".rstrip() for name, names in rows.items()]
        return "\n".join([f"  {'loaded':<10} {len(self.loaded):>4}", *lines])


def load(path: str | Path, **facts: Any) -> Backbone:
    """The network in a file, of gesso or of the authors, with its weights; see `recognise`."""
    return recognise(path, **facts).network


def recognise(
    path: str | Path, *, weights: str | None = None, decoder: str | Path | None = None, **facts: Any
) -> Recognised:
    """The network in a file, with its weights and how it was recognised: by its header, else by its tensors.

    Args:
        path: `.safetensors` of gesso, or what the authors of a network, or of IFP, MFM or DegAE, train and release.
        weights: which set of weights, where the file holds several: "params" or "params_ema", "generator" or
            "state_dict.generator_ema". Without it averages come before the last iterate.
        decoder: the second file of a model fine-tuned with DegAE's code, whose first file is `path`.
        facts: constructor options that the file does not tell (Uformer's `img_size`), or that are to differ from it;
            `image_channels` adapts the network to images with other channels (`gesso.backbones._channels`); `target`
            says that the class of your own which the file names may be run.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if no network of gesso has these tensors, what fits and what does not is listed; or if several
            sets of them fit as well as each other.
        UnknownNameError: for a fact that the network has no option for.
    """
    header, states = read_header(path), read_states(path, weights)
    found = _by_header(header, states, facts, path) if header else _by_tensors(states, facts, path)
    return found if decoder is None else dataclasses.replace(found, network=_with_decoder(found.network, decoder))


def load_features(net: Backbone, path: str | Path, *, keep_head: bool = False, weights: str | None = None) -> Report:
    """Loads what lies before `reconstruct` from a file into a network of the same body, and reports what it did.

    Strict: every tensor of the body must be in the file with its shape, and nothing of the file may be left over but
    what lies behind `reconstruct`, or stood behind the whole network in pre-training. The head keeps its values. Where
    images of the file have other channels than those of `net`, the first convolution is adapted, and with `keep_head`
    the last one (`gesso.backbones._channels`); the report says so.

    Args:
        net: the network; unchanged if the file does not fit.
        path: `.safetensors` of gesso, or what the authors of a network, or of IFP, MFM or DegAE, train and release.
        keep_head: load what lies behind `reconstruct` too, where the file has it in the same shape.
        weights: which set of weights, where the file holds several: a key or prefix ("params", "generator").

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if a tensor of the body is missing, has another shape, or is unknown; a table lists them.
    """
    header, states = read_header(path), read_states(path, weights)
    if isinstance(net, PaperTransfer) and header.get("backbone") != PaperTransfer.__name__:
        inner = load_features(net.backbone, path, keep_head=True, weights=weights)
        loaded = [f"backbone.{key}" for key in inner.loaded]
        relearned = [key for key in net.state_dict() if key not in set(loaded)]
        return dataclasses.replace(inner, loaded=loaded, relearned=relearned)

    fits = fits_of_body(net, states)
    fitting = [part for part, fit, _ in fits if all(net.is_head(key) for key in fit.misfits)]
    if not fitting:
        seen = _seen(header, states)
        raise CheckpointError(f"{path}: its features do not fit {type(net).__name__}{seen}\n{fits[0][1]}")
    chosen, others = choose_part(fitting, path)
    fit, adapted = next((fit, adapted) for part, fit, adapted in fits if part is chosen)
    loaded = {key: fit.state[key] for key in fit.loaded if keep_head or not net.is_head(key)}
    net.load_state_dict(net.state_dict() | loaded)
    relearned = [key for key in net.state_dict() if key not in loaded]
    left = chosen.left + [key for key in fit.state if key not in loaded]
    adapted = adapted._replace(names=[name for name in adapted.names if name in loaded])
    return Report(list(loaded), relearned, left, adapted, chosen.place, others)


def fits_of_body(net: Backbone, states: Mapping[str, State]) -> list[tuple[Part, Fit, Adapted]]:
    """How the parts of a file that have all names of a network's body fit it, or the one that has most of its names."""
    own = net.state_dict().keys()
    body = sum(not net.is_head(key) for key in own)
    shared = [(len(own & net.from_official(part.state).keys()), part) for part in list_parts(states)]
    most = max(count for count, _ in shared)
    parts = [part for count, part in shared if count >= body] or [part for count, part in shared if count == most][:1]
    fits = [(part, *adapted_fit(net, part.state)) for part in parts]
    return sorted(fits, key=lambda entry: len(entry[1].loaded), reverse=True)


def adapted_fit(net: Backbone, state: State) -> tuple[Fit, Adapted]:
    """The fit of a file's state to `net`, once it is adapted to the channels of its images, and what that took."""
    state, adapted = adapt(net, net.from_official(state))
    return Fit.of(net, state), adapted


def _by_header(
    header: dict[str, Any], states: Mapping[str, State], facts: dict[str, Any], path: str | Path
) -> Recognised:
    """The network that a header names."""
    state = next(iter(states.values()))
    known = {**backbone_classes(), PaperTransfer.__name__: PaperTransfer, Refined.__name__: Refined}
    name, options = header.get("backbone", "none"), header.get("options", {})
    own = bool(_discovery.CODE.fullmatch(name))
    if name not in known and not own:
        hint = _discovery.suggest(name, known)
        raise CheckpointError(f"{path}: its network is {name}, which this gesso does not have; {hint}")
    _check_trust(name, options, facts, path)
    network = network_class(name) if own else known[name]
    with within(state, path, f"header of a {name} with {options}"):
        options, facts = for_images(network, options, facts)
        _discovery.check_options(network.__init__, facts, network.__name__)
        net = network(**(options | facts))
    state, adapted = adapt(net, state)
    _filled(net, Fit.of(net, state), path)
    if isinstance(net, Refined):
        recover_prior(net, Path(path), load, asked="prior" in facts)
    return Recognised(net, header, {}, [], adapted)


def for_images(
    network: type[Backbone], options: dict[str, Any], facts: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of a file's network, for as many image channels as the facts ask for, and the other facts."""
    if "image_channels" not in facts:
        return options, facts
    others = {name: value for name, value in facts.items() if name != "image_channels"}
    return network.for_images(options, facts["image_channels"]), others


def _check_trust(name: str, options: dict[str, Any], facts: dict[str, Any], path: str | Path) -> None:
    """Checks that a class of the user's own, which runs as code, is named by the user and not by the file alone.

    It is a `Backbone` of the user's, or a module that one of gesso's wraps (`target`), at the top or inside a transfer
    or a refined model. The fact `target` is taken out unless the network itself has an option of this name.

    Raises:
        CheckpointError: if the file names one and neither the fact `target`, or for a refiner `refiner`, nor
            `--allow_code` does.
    """
    targets, inner = {name: "network"}, options
    while isinstance(inner, dict):
        targets |= {one: "refiner" for one in (inner.get("refiner"),) if isinstance(one, str)}
        targets |= {one: "network" for one in (inner.get("network"), inner.get("target")) if isinstance(one, str)}
        inner = inner.get("options")
    targets = {one: what for one, what in targets.items() if _discovery.CODE.fullmatch(one)}
    named = {"network": facts.get("target"), "refiner": facts.get("refiner")}
    for target, what in targets.items():
        if named[what] != target and not _discovery.code_is_allowed.get():
            word = "refiner" if what == "refiner" else "target"
            raise CheckpointError(
                f"{path}: its {what} is a class of your own, {target}, which is run only where you name it: "
                f"load(path, {word}={target!r}), or on the command line --backbone_args.{word} {target}"
            )
    if "network" in targets.values() and "target" not in options:
        facts.pop("target", None)


def _by_tensors(states: Mapping[str, State], facts: dict[str, Any], path: str | Path) -> Recognised:
    """The network that has these tensors."""
    attempts: list[tuple[Part, Fit, Backbone, dict[str, Any], Adapted]] = []
    for part in list_parts(states):
        for network, options in _claims(part.state):
            options, others = for_images(network, options, facts)
            _discovery.check_options(network.__init__, others, network.__name__)
            built = [
                attempt[2] for attempt in attempts if type(attempt[2]) is network and attempt[3] == options | others
            ]
            if not built:
                with within(part.state, path, f"tensors of a {network.__name__} with {options}"):
                    built = [network(**(options | others))]
            fit, adapted = adapted_fit(built[0], part.state)
            attempts.append((part, fit, built[0], options | others, adapted))
    if not attempts:
        names = _shortened([name for state in states.values() for name in state])
        raise CheckpointError(f"{path}: no network of gesso ({', '.join(backbone_classes())}) has its tensors: {names}")
    fitting = [attempt for attempt in attempts if not attempt[1].misfits]
    chosen, others = choose_part([attempt[0] for attempt in fitting], path) if fitting else (None, [])
    nearest = max(attempts, key=lambda attempt: len(attempt[1].loaded))
    part, fit, net, options, adapted = next((attempt for attempt in fitting if attempt[0] is chosen), nearest)
    assumed = {name: value for name, value in with_defaults(type(net), {}).items() if name not in options}
    return Recognised(_filled(net, fit, path), {}, assumed, part.left, adapted, part.place, others)


@contextlib.contextmanager
def within(state: State, path: str | Path, seen: str) -> Iterator[None]:
    """Ends the building of a network that is far larger than its file, before its memory is taken.

    Raises:
        CheckpointError: then, and for options of which no network can be built; `seen` says where they come from.
    """
    left, largest = 1000 + 4 * len(state), max([1 << 20, *(4 * tensor.numel() for tensor in state.values())])

    def check(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal left
        left -= 1
        if left < 0 or (parameter is not None and parameter.numel() > largest):
            raise CheckpointError(f"{path}: {seen}, which are far more weights than there are; it is damaged")

    hook = register_module_parameter_registration_hook(check)
    try:
        yield
    except (CheckpointError, _discovery.UnknownNameError):
        raise
    except Exception as error:  # options of any kind and size may make a constructor trip anywhere
        raise CheckpointError(f"{path}: {seen}, but {error}; give what tensors do not tell") from None
    finally:
        hook.remove()


def _claims(state: State) -> Iterator[tuple[type[Backbone], dict[str, Any]]]:
    """Networks that take a state for their own, with the constructor options that they read off it."""
    for network in backbone_classes().values() if len(state) >= FEWEST else ():
        try:
            options = network.recognise(state)
        except (KeyError, IndexError, ValueError, ZeroDivisionError, TypeError, RuntimeError):
            continue  # its tensors are missing, or of other shapes
        if options is not None:
            yield network, options


def _filled(net: Backbone, fit: Fit, path: str | Path) -> Backbone:
    """`net` with the weights of a state that fits it.

    Raises:
        CheckpointError: if it does not fit.
    """
    if fit.misfits:
        raise CheckpointError(f"{path}: its tensors are not those of {type(net).__name__}(**{net.options})\n{fit}")
    net.load_state_dict(fit.state)
    return net


def _with_decoder(backbone: Backbone, path: str | Path) -> PaperTransfer:
    """The model whose layers behind the network lie in a file of their own: DegAE's head, see `PaperTransfer`."""
    state = read_part(path, {"conv_last.weight"})
    if "conv_last.weight" not in state:
        seen = _shortened(list(state))
        raise CheckpointError(f"{path}: expected conv_last.weight, as DegAE's decoders have; found {seen}")
    enlarge = 1
    if "upconv1.weight" in state:
        enlarge = 4 if "upconv2.weight" in state else math.isqrt(len(state["upconv1.weight"]) // 64)
    else:
        state = {key: tensor for key, tensor in state.items() if not key.startswith("HRconv.")}  # there, but unused
    first = state["conv_last.weight" if enlarge == 1 else "conv_first.weight"]
    backbone = backbone.encoder_for(first.shape[1])
    net = PaperTransfer(backbone, out_channels=len(state["conv_last.weight"]), enlarge=enlarge)
    names = {key: key if key.startswith("conv_last.") else f"enlarge.{key}" for key in state}
    head = {names[key]: tensor for key, tensor in state.items()}
    fit = Fit.of(net, {f"backbone.{key}": tensor for key, tensor in backbone.state_dict().items()} | head)
    if fit.misfits:
        raise CheckpointError(f"{path}: its layers do not stand behind {backbone.out_channels} channels\n{fit}")
    net.load_state_dict(fit.state)
    return net


def _seen(header: dict[str, Any], states: Mapping[str, State]) -> str:
    """The part of an error that says what a file holds instead, as far as it can be told."""
    if header:
        return f"; it holds a {header['backbone']} with {header['options']}"
    for part in list_parts(states):
        for network, options in _claims(part.state):
            return f"; it holds a {network.__name__} with {options}"
    return "; no network of gesso has its tensors"


def _taken(place: str, others: Sequence[str]) -> str:
    """The end of a sentence: which of several sets of weights in a file was taken."""
    return f"; took {place!r}, not {', '.join(map(repr, others))}" if others else ""


def _shortened(names: Sequence[str], most: int = 8) -> str:
    """The first names of a list, and how many more there are."""
    return ", ".join(names[:most]) + (f" ... and {len(names) - most} more" if len(names) > most else "")


def _left(names: Sequence[str]) -> str:
    """The end of a sentence: which tensors of a file were not used."""
    return f"; left {len(names)} in the file: {_shortened(names, 3)}" if names else ""

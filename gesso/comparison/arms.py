"""What a comparison starts from: random weights, a file, or a pre-training that is run first."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gesso import _discovery, _recipes
from gesso._discovery import UnknownNameError, suggest
from gesso.commands._parser import check_call
from gesso.commands.finetune import finetune
from gesso.commands.pretrain import pretrain
from gesso.functional.mimetic import MIMETIC
from gesso.pretext import list_pretexts
from gesso.primed import is_primed, resolve_file
from gesso.report.comparison import file_stem
from gesso.report.statistics import BASELINE
from gesso.sources import list_sources

RECIPES = (".yaml", ".yml")
TRANSFERS = ("keep_last", "shrink", "rescale", "features_lr", "freeze_features")  # what a start may do in its own way
OF_A_START = ("out", "resume", "overwrite", "backbone", "backbone_args")  # options of pre-training that it decides


@dataclass(frozen=True)
class Start:
    """A start of a comparison.

    Attributes:
        name: what the user calls it.
        file: weights to start from; None for random weights and where they are pre-trained first.
        options: options of `gesso pretrain`; None where there is nothing to pre-train.
        transfer: options of `gesso finetune` of this start alone, of those in `TRANSFERS`.
    """

    name: str
    file: Path | None = None
    options: dict[str, Any] | None = None
    transfer: dict[str, Any] = field(default_factory=dict)

    @property
    def init(self) -> str:
        """What `gesso finetune` takes for `init`, unless the weights are pre-trained first."""
        return str(self.file) if self.file else MIMETIC if self.name == MIMETIC else "random"

    @property
    def folder(self) -> str:
        """A folder name that changes with the recipe, the file or the transfer: no run is taken for another's."""
        if self.name == BASELINE:
            return BASELINE
        content = self.file.read_bytes() if self.file else spelled(self.options)
        return f"{file_stem(self.name)}-{digest(content + (spelled(self.transfer) if self.transfer else b''))}"

    @property
    def pretraining_folder(self) -> str:
        """A folder name that changes with the recipe alone: starts of one recipe share their pre-training."""
        return f"{(self.options or {})['pretext']}-{digest(spelled(self.options))}"


def spelled(options: Any) -> bytes:
    """Options in a form that depends on nothing but their values."""
    return json.dumps(options, sort_keys=True).encode()


def digest(content: bytes) -> str:
    """Eight letters that stand for the content."""
    return hashlib.blake2b(content, digest_size=4).hexdigest()


def find_starts(
    names: Sequence[str],
    network: Mapping[str, Any],
    pretrain_args: Mapping[str, Any],
    start_args: Mapping[str, Mapping[str, Any]],
    task: str,
) -> list[Start]:
    """The starts of these names, random weights first.

    A name is "random", "mimetic" (see `gesso finetune`), a file of weights or a primed network (`primed:derain`), a
    pretext or a recipe of `gesso pretrain` (by name or YAML file), or one of these behind the images that it shall see,
    `leaves-mfm`, or in front of the seed that it draws from, `ifp@1`.

    Args:
        names: of the starts.
        network: `backbone` and `backbone_args`, which replace those of a recipe.
        pretrain_args: options of `gesso pretrain` for every start.
        start_args: likewise for single starts, by name. As in a YAML file, `finetune` among them holds options of
            `gesso finetune` for this start.
        task: that is compared; recipes made for a task are made for this one.

    Raises:
        UnknownNameError: for a name that is none of these, or options for a start that is not compared.
        ValueError: for an option that a start cannot have; if there is nothing to compare, or two starts would have
            one name.
    """
    chosen = [name for name in dict.fromkeys(names) if name != BASELINE]
    if not chosen:
        raise ValueError("starts: expected something to compare with random weights, such as random,ifp")
    check_unset("pretrain_args", pretrain_args, OF_A_START)
    for name, options in start_args.items():
        if name not in chosen:
            raise UnknownNameError(f"start_args: no start is called {name!r}; {suggest(name, chosen)}")
        check_unset(f"start_args: {name}", options, OF_A_START)
    starts = [find_start(name, network, pretrain_args, start_args.get(name, {}), task) for name in chosen]
    stems = [file_stem(name) for name in chosen]
    if len(set(stems)) < len(stems):
        raise ValueError(
            f"starts: some would share a name ({', '.join(stems)}); put the files into folders of their own"
        )
    return [Start(BASELINE), *starts]


def find_start(
    name: str, network: Mapping[str, Any], pretrain_args: Mapping[str, Any], own: Mapping[str, Any], task: str
) -> Start:
    """The start of this name, see `find_starts`; `own` are the options of this one alone.

    Raises:
        UnknownNameError: if there is none.
        FileNotFoundError: if it is a file that does not exist.
        ValueError: for an option that it cannot have.
    """
    if name == MIMETIC:
        options, transfer = divided(name, own)
        check_no_pretraining(name, options)
        return Start(name, transfer=transfer)
    path = resolve_file(name, network["backbone"])
    if is_primed(name) or (path.suffix and path.suffix not in RECIPES):
        if not path.is_file():
            raise FileNotFoundError(f"starts: there is no file {path}")
        options, transfer = divided(name, own)
        check_no_pretraining(name, options)
        return Start(name, file=path.resolve(), transfer=transfer)
    images, method, seed = split_name(name)
    recipe = read_recipe(method)
    if "task" in (recipe.get("pretext_args") or {}):
        recipe["pretext_args"]["task"] = task
    options, transfer = divided(name, {**recipe, **network, **pretrain_args, **own})
    options |= ({"images": images} if images else {}) | ({} if seed is None else {"seed": seed})
    check_call(pretrain, options, name)
    return Start(name, options=options, transfer=transfer)


def check_no_pretraining(name: str, options: Collection[str]) -> None:
    """Checks that a start without pre-training was given no options for it.

    Raises:
        ValueError: naming them.
    """
    if options:
        raise ValueError(f"start_args: {name} is not pre-trained, so it cannot have {', '.join(sorted(options))}")


def check_unset(what: str, options: Collection[str], own: Collection[str]) -> None:
    """Checks that options which a user gives to the runs of a comparison are none that it decides.

    Raises:
        ValueError: for the first that is.
    """
    for name in options:
        if name in own:
            raise ValueError(f"{what}: a comparison decides {name} for all its runs; gesso compare --help says how")


def divided(name: str, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of `gesso pretrain`, and those of `gesso finetune`, which stand under `finetune`.

    Raises:
        ValueError: for an option of fine-tuning that starts must have in common.
    """
    transfer = options.get("finetune") or {}
    unknown = sorted(set(transfer) - set(TRANSFERS))
    if unknown:
        raise ValueError(f"{name}: finetune: expected some of {', '.join(TRANSFERS)}, got {', '.join(unknown)}")
    check_call(finetune, transfer, f"{name}: finetune")
    return {key: value for key, value in options.items() if key != "finetune"}, dict(transfer)


def split_name(name: str) -> tuple[str | None, str, int | None]:
    """The images, the method and the seed that a name means.

    Example:
        >>> split_name("leaves-mfm"), split_name("ifp@3"), split_name("ifp")
        (('leaves', 'mfm', None), (None, 'ifp', 3), (None, 'ifp', None))
    """
    images, dash, method = name.partition("-")
    images, method = (images, method) if dash and images in list_sources() else (None, name)
    recipe, at, seed = method.rpartition("@")
    return (images, recipe, int(seed)) if at and seed.isdecimal() else (images, method, None)


def read_recipe(method: str) -> dict[str, Any]:
    """Options of a start: those of a recipe by name or YAML file, or a pretext with all its defaults.

    Raises:
        UnknownNameError: if the name is neither.
        FileNotFoundError: if it is a YAML file that does not exist.
    """
    recipes = _discovery.recipes("pretrain")
    path = recipes.get(_discovery.RENAMED.get(method, method), Path(method))
    if path.suffix in RECIPES:
        if not path.is_file():
            raise FileNotFoundError(f"starts: there is no recipe {path}")
        return _recipes.read_recipe(path)
    if method not in list_pretexts():
        known = {BASELINE, MIMETIC, *recipes, *list_pretexts()}
        raise UnknownNameError(f"starts: {method!r} is no pretext, recipe or file of weights; {suggest(method, known)}")
    return {"pretext": method}

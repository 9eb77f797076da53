"""What a comparison compares: arms, each with a name and what it changes, above all what it starts from."""

import dataclasses
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gesso import _discovery, _recipes
from gesso._discovery import UnknownNameError, suggest
from gesso._names import file_key, fitting
from gesso.checkpoint.files import plain
from gesso.commands.finetune import Finetune
from gesso.commands.pretrain import Pretrain
from gesso.functional.mimetic import MIMETIC
from gesso.options import OF_THIS_CALL, check_options, options_of
from gesso.options.data import TrainingPairs
from gesso.options.network import Network
from gesso.pretext import list_pretexts
from gesso.primed import for_task, is_primed, resolve_file
from gesso.report.results import file_stem
from gesso.report.statistics import BASELINE
from gesso.sources import list_sources

RECIPES = (".yaml", ".yml")
OF_A_START = {name for name, option in options_of(Pretrain).items() if option.role in OF_THIS_CALL} | {
    *options_of(Network)
}
"""Options of `gesso pretrain` that a comparison decides."""
SAME_FOR_ALL = {*options_of(TrainingPairs), *options_of(Network), "steps", "val_every", "patience"} | {
    name for name, option in options_of(Finetune).items() if option.role in ("repetition", *OF_THIS_CALL)
}
"""Options of `gesso finetune` that no arm changes: what is trained on, the network, how long, where and how often."""


@dataclass(frozen=True)
class Arm:
    """An arm of a comparison: a name, and what it changes.

    Attributes:
        name: what the user calls it.
        init: what its fine-tuning starts from; None where that is pre-trained first.
        pretraining: options of `gesso pretrain`; None where there is nothing to pre-train.
        changes: options of `gesso finetune` that it has in its own way.
        recipe_steps: steps of pre-training in the recipe that it is named after, whatever was asked for.
    """

    name: str
    init: str | None = BASELINE
    pretraining: dict[str, Any] | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    recipe_steps: int | None = None

    @property
    def folder(self) -> str:
        """A folder name that changes with what the arm is: no run is taken for another's."""
        if self.init == BASELINE and not self.changes:
            return BASELINE if self.name == BASELINE else fitting(file_stem(self.name))
        content = spelled(self.pretraining)
        if self.init is not None and Path(self.init).is_file():
            content = Path(self.init).read_bytes()
        return fitting(file_stem(self.name), f"-{digest(content + (spelled(self.changes) if self.changes else b''))}")

    @property
    def pretraining_folder(self) -> str:
        """A folder name that changes with the recipe alone: arms of one recipe share their pre-training."""
        return f"{(self.pretraining or {})['pretext']}-{digest(spelled(self.pretraining))}"


def spelled(options: Any) -> bytes:
    """Options in a form that depends on nothing but their values."""
    return json.dumps(plain(options), sort_keys=True).encode()


def digest(content: bytes) -> str:
    """Eight letters that stand for the content."""
    return hashlib.blake2b(content, digest_size=4).hexdigest()


@dataclass(frozen=True)
class Common:
    """What all arms of a comparison have in common.

    Attributes:
        network: `backbone` and `backbone_args`, which replace those of a recipe.
        pretrain_args: options of `gesso pretrain` for every arm that is pre-trained.
        task: that is compared; recipes made for a task are made for this one.
    """

    network: Mapping[str, Any]
    pretrain_args: Mapping[str, Any]
    task: str


def find_arms(
    starts: Sequence[str],
    start_args: Mapping[str, Mapping[str, Any]],
    arms: Mapping[str, Mapping[str, Any]],
    common: Common,
) -> list[Arm]:
    """The arms of a comparison: random weights and the starts of these names, then those that are given as changes.

    A name of a start is what an arm may have as its `init`: "random", "mimetic" (see `gesso finetune`), a file of
    weights or a primed network (`primed`, that of the task, or `primed:derain`), a pretext or a recipe of `gesso
    pretrain` (by name or YAML file), or one of these behind the images that it is trained on, `leaves-mfm`, or before
    the seed that it draws from, `ifp@1`.

    Args:
        starts: names.
        start_args: options of `gesso pretrain` for single starts, by name. As in a YAML file, `finetune` among them
            holds what this start changes of `gesso finetune`.
        arms: what each arm changes of `gesso finetune`, by name; `pretrain` among it holds options of its pre-training.
        common: what they have in common.

    Raises:
        UnknownNameError: for a name that is none of these, or options for a start that is not compared.
        ValueError: for an option that an arm cannot have; if there is nothing to compare, or two arms would have one
            name.
    """
    check_decided("pretrain_args", common.pretrain_args, OF_A_START)
    chosen = [name for name in dict.fromkeys(starts) if name != BASELINE]
    for name, options in start_args.items():
        if name not in chosen:
            raise UnknownNameError(f"start_args: no start is called {name!r}; {suggest(name, chosen)}")
        check_decided(f"start_args: {name}", options, OF_A_START)
    found = [find_start(name, start_args.get(name, {}), common) for name in chosen]
    found = [Arm(BASELINE), *found] if starts else []
    found += [make_arm(name, changes, common) for name, changes in arms.items()]
    if len(found) < 2:
        raise ValueError("starts: expected something to compare with random weights, such as random,ifp")
    stems = [file_stem(arm.name) for arm in found]
    if len({file_key(Path(stem), ignoring_case=True) for stem in stems}) < len(stems):  # wherever they are carried
        raise ValueError(
            f"starts: some would share a name ({', '.join(stems)}); put the files into folders of their own"
        )
    return found


def make_arm(name: str, changes: Mapping[str, Any], common: Common) -> Arm:
    """An arm from what it changes.

    Raises:
        ValueError: for what an arm cannot change.
    """
    own = {option: value for option, value in changes.items() if option not in ("init", "pretrain")}
    pretraining = changes.get("pretrain") or {}
    if not isinstance(pretraining, Mapping):
        raise ValueError(f"arms: {name}: pretrain: expected options {{name: value}}, got {pretraining!r}")
    check_decided(f"arms: {name}", own, SAME_FOR_ALL)
    check_options(Finetune, own, f"arms: {name}")
    check_decided(f"arms: {name}: pretrain", pretraining, OF_A_START)
    init = str(changes.get("init", str(pretraining.get("pretext", BASELINE))))
    if init == BASELINE:
        check_no_pretraining(name, pretraining)
        return Arm(name, changes=own)
    start = find_start(init, {**pretraining, "finetune": own}, common)
    return dataclasses.replace(start, name=name)


def find_start(name: str, own: Mapping[str, Any], common: Common) -> Arm:
    """The start of this name, see `find_arms`; `own` are the options of this one alone.

    Raises:
        UnknownNameError: if there is none.
        FileNotFoundError: if it is a file that does not exist.
        ValueError: for an option that it cannot have.
    """
    options, changes = divide(name, own)
    init = for_task(name, common.task)
    path = resolve_file(init, common.network["backbone"])
    if name == MIMETIC or is_primed(init) or (path.suffix and path.suffix not in RECIPES):
        if name != MIMETIC and not path.is_file():
            raise FileNotFoundError(f"starts: there is no file {path}{_discovery.advise_colon(name)}")
        check_no_pretraining(name, options)
        return Arm(name, MIMETIC if name == MIMETIC else str(path.resolve()), changes=changes)
    if (path / "backbone.safetensors").is_file():  # the folder of a run
        check_no_pretraining(name, options)
        return Arm(name, str((path / "backbone.safetensors").resolve()), changes=changes)
    images, method, seed = split_name(name)
    recipe = read_recipe(method)
    if Path(method).suffix in RECIPES:  # what it says of the network gives way to that of the comparison
        _discovery.check_code({key: value for key, value in recipe.items() if key not in common.network}, method)
    if "task" in (recipe.get("pretext_args") or {}):
        recipe["pretext_args"]["task"] = common.task
    merged, of_recipe = divide(name, {**recipe, **common.network, **common.pretrain_args, **options})
    merged |= ({"images": images} if images else {}) | ({} if seed is None else {"seed": seed})
    check_options(Pretrain, merged, name)
    return Arm(name, None, merged, of_recipe | changes, recipe.get("steps", options_of(Pretrain)["steps"].default))


def check_no_pretraining(name: str, options: Collection[str]) -> None:
    """Checks that a start without pre-training was given no options for it.

    Raises:
        ValueError: naming them.
    """
    if options:
        raise ValueError(f"{name} is not pre-trained, so it cannot have {', '.join(sorted(options))}")


def check_decided(what: str, options: Collection[str], own: Collection[str]) -> None:
    """Checks that options which a user gives to the runs of a comparison are none that it decides.

    Raises:
        ValueError: for the first that is.
    """
    for name in options:
        if name in own:
            raise ValueError(f"{what}: a comparison decides {name} for all its runs; gesso compare --help says how")


def divide(name: str, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of `gesso pretrain`, and those of `gesso finetune`, which stand under `finetune`.

    Raises:
        ValueError: for an option of fine-tuning that arms must have in common.
    """
    changes = options.get("finetune") or {}
    check_decided(f"{name}: finetune", changes, SAME_FOR_ALL)
    check_options(Finetune, changes, f"{name}: finetune")
    return {key: value for key, value in options.items() if key != "finetune"}, dict(changes)


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
    if method not in list_pretexts() and not _discovery.CODE.fullmatch(method):
        known = {BASELINE, MIMETIC, *recipes, *list_pretexts()}
        raise UnknownNameError(f"starts: {method!r} is no pretext, recipe or file of weights; {suggest(method, known)}")
    return {"pretext": method}

"""Options that say where images come from."""

from typing import Any, ClassVar

from gesso._specs import DegradationSpec, FilePath, LayoutSpec, Sampling, SourceSpec, TaskSpec
from gesso._values import Enlargement, NonNegativeInt, PositiveInt
from gesso.options._command import options
from gesso.options._fields import Machine, Place


@options
class Pairs:
    """A folder of pairs."""

    title: ClassVar[str] = "data"

    data: Place[FilePath | None] = None
    """root of a data set in a published layout, which is detected automatically."""

    lq: Place[FilePath | None] = None
    """folder of degraded images, with `gt`, instead of `data`; beside `data`, the name of such folders below it."""

    gt: Place[FilePath | None] = None
    """folder of ground truths, with `lq`."""

    pair_by: str = "stem"
    """"stem": by equal names, or names that differ as published ones do; a template of an input's name, as '{gt}_s*' or
    '{gt}x4'; a file that lists pairs, two columns or BasicSR's meta_info; or by sorted "order"."""

    layout: LayoutSpec | None = None
    """name of the layout of `data` (`gesso list layouts`), or "photos": they are clean photos; or module:function of
    your own; none: detected automatically."""

    white_level: PositiveInt | None = None
    """the value of white in files of 16 bits: 4095 for 12 bits; none: 65535, or what the files say."""


@options
class TaskPairs(Pairs):
    """Pairs of a restoration task, or photos that are degraded."""

    task: TaskSpec
    """name of the task; `gesso list tasks` shows all with their protocols; or module:NAME of your own."""

    degradation: DegradationSpec | None = None
    """what degrades clean photos: a name, or {name: ..., option: ...}; none: that of the task."""

    scale: Enlargement = 1
    """enlargement for super-resolution."""


@options
class TrainingPairs(TaskPairs):
    """Pairs to train on."""

    task: TaskSpec
    """name of the task, or "all-in-one" with `mix`; `gesso list tasks` shows all with their protocols."""

    data: Place[SourceSpec | None] = None  # pyright: ignore[reportIncompatibleVariableOverride]
    """root of a data set in a published layout, which is detected automatically; or a folder of clean photos, or
    procedural images (`gesso list sources`), which are degraded on the fly."""

    val: Place[FilePath | None] = None
    """root of validation data, of which the validation split is taken, else the test split, or all of it where it has
    none; none: these splits of `data`, else some pairs are held out."""

    holdout: NonNegativeInt | None = None
    """pairs held out for validation where there are no others; none: a tenth, at most 12."""

    skip_damaged: Machine[bool] = False
    """leave out damaged images, and pairs whose sides do not fit, instead of refusing them."""

    mix: list[dict[str, Any]] | None = None
    """for the task "all-in-one": a list of {name, task, data, repeats, degradation, ...}, each with the options of a
    single task; every part is measured by its own protocol (`protocol: {channel: rgb}` changes it). Where a part has a
    crop_size of its own, each batch is of one part."""

    sampling: Sampling = "repeats"
    """how the parts of a mix are drawn: "repeats", as often as they have samples, times their `repeats`; or "balanced",
    in turns, however many samples they have (`repeats` are then the turns in a round)."""

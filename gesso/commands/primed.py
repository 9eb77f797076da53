"""The networks that come with the package: check one by making it again, add one from a run, write their cards."""

from dataclasses import field
from typing import TYPE_CHECKING, ClassVar, Literal

from gesso._specs import FilePath
from gesso._values import NonNegativeFloat
from gesso.options import Command, as_function, options

if TYPE_CHECKING:
    from pathlib import Path  # noqa: F401, in the name of what comes back

    from gesso.commands._primed import Verdict  # noqa: F401, in the name of what comes back


@options
class Primed(Command["Verdict | Path"]):
    """Checks, adds or describes primed networks, see `gesso.primed`; returns a verdict, or what was written.

    "verify" makes the network NAME again from its recipe, with nothing but this package, and compares. On the same kind
    of processor the weights are the same bits; on another rounding differs from the first step on, so what counts is
    that both restore alike. "add" makes the network NAME of a run of `gesso pretrain`, in half precision. "cards"
    writes the page that describes all.

    Raises:
        UnknownNameError: if there is no such network.
        FileExistsError: if a network would be replaced and `overwrite` is False.
        ValueError: if a run is not finished, has seen photos, or is of another task or network than NAME says.
    """

    title: ClassVar[str] = "what"
    example: ClassVar[str] = "gesso primed verify derain/nafnet_tiny"

    action: Literal["verify", "add", "cards"] = field(kw_only=False)
    """"verify", "add" or "cards"."""

    name: str | None = field(default=None, kw_only=False)
    """the network, TASK/NETWORK such as derain/restormer_tiny."""

    from_run: FilePath | None = None
    """for "add": folder of a finished run with the pretext `restore` on images from nothing."""

    tasks: list[str] | None = None
    """for "add": what a network restores that was trained for several tasks."""

    scores: list[str] | None = None
    """for "add": files `scores.json` that `gesso evaluate` wrote for the network."""

    inputs: list[str] | None = None
    """for "add": those that it wrote for the same sets without a network."""

    minutes: NonNegativeFloat | None = None
    """for "add": processor time of the run."""

    out: FilePath | None = None
    """for "verify": folder of the run, none: a temporary one; for "add": folder of primed networks, none: that of the
    package; for "cards": the page, none: docs/primed.md."""

    overwrite: bool = False
    """replace what is there."""


primed = as_function(Primed)

"""What users rely on: public names, and the options of every verb with their kinds and defaults.

`python -m tests.test_public` writes the inventory anew: who removes or renames something edits it in the same change.
"""

from pathlib import Path

import gesso
from gesso import cli
from gesso._values import expected
from gesso.commands._parser import shown
from gesso.options import Option, options_of

INVENTORY = Path(__file__).parent / "golden" / "public.txt"


def spell(option: Option) -> str:
    """An option in a line."""
    default = "needed" if option.is_needed else shown(option.default)
    return f"--{option.name} ({expected(option.kind)}): {default}"


def take_inventory() -> list[str]:
    """Every public name and option, a line each."""
    names = [f"gesso.{name}" for name in gesso.__all__]
    return names + [
        f"gesso {verb} {spell(option)}" for verb in cli.verbs() for option in options_of(cli.command(verb)).values()
    ]


def test_public_names_and_options_are_those_of_the_inventory():
    known = INVENTORY.read_text(encoding="utf-8").splitlines()
    now = take_inventory()
    gone, new = sorted(set(known) - set(now)), sorted(set(now) - set(known))
    assert (gone, new) == ([], []), "python -m tests.test_public writes the inventory anew; CHANGELOG tells users"
    assert now == known


def test_public_names_are_sorted_and_importable():
    assert gesso.__all__ == sorted(gesso.__all__)
    assert all(getattr(gesso, name) is not None for name in gesso.__all__)


if __name__ == "__main__":
    INVENTORY.write_text("\n".join(take_inventory()) + "\n", encoding="utf-8")

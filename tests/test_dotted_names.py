"""A part of one's own that is written as Python writes it, `mynets.Net`, is told the colon."""

import pytest

from gesso import _discovery
from gesso.backbones import create_backbone, network_class
from gesso.backbones.external import External
from gesso.data.layouts import open_layout
from gesso.degradations import create_degradation
from gesso.losses import find_loss
from gesso.pretext import pretext_class
from gesso.sources import open_source
from gesso.tasks import find_task
from gesso.training.schedules import schedule

KINDS = {
    "backbone": create_backbone,
    "network": network_class,
    "wrapped": External,
    "pretext": pretext_class,
    "degradation": create_degradation,
    "source": open_source,
    "layout": open_layout,
    "task": find_task,
    "loss": find_loss,
    "schedule": lambda name: schedule(name, 1e-3, steps=4),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dotted", "colon"), [("mynets.Net", "mynets:Net"), ("my.nets.Net", "my.nets:Net")])
def test_a_dotted_name_is_told_how_it_is_written(kind, dotted, colon):
    with pytest.raises(ValueError, match=f"write {colon} for one of your own"):
        KINDS[kind](dotted)


@pytest.mark.parametrize("name", ["restormr", "..", "a.", ".b", "1.5", "pairs/photos.png"])
def test_other_names_are_not(name):
    assert "for one of your own" not in _discovery.suggest_part(name, ["restormer"])

"""A part of one's own that is written as Python writes it, `mynets.Net`, is told the colon."""

import pytest

import gesso
from gesso import _discovery
from gesso.backbones import create_backbone, network_class
from gesso.backbones.external import External
from gesso.comparison.arms import Common, find_start
from gesso.data.augment import open_augmentation
from gesso.data.layouts import open_layout
from gesso.data.training_data import DataOptions, open_images, open_training_data
from gesso.degradations import create_degradation
from gesso.losses import find_loss
from gesso.pretext import open_feature_loss, pretext_class
from gesso.refiner import open_prior, refiner_class
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
    "refiner": refiner_class,
    "prior": lambda name: open_prior(name, gesso.load),
    "critic": lambda name: open_feature_loss(name, create_backbone("nafnet_tiny")),
    "critic with options": lambda name: open_feature_loss({"name": name, "weight": 1}, create_backbone("nafnet_tiny")),
    "augment": open_augmentation,
    "images": lambda name: open_images(name, seed=0),
    "data": lambda name: open_training_data(find_task("derain"), DataOptions(data=name)),
    "start": lambda name: find_start(name, {}, Common({"backbone": "nafnet_tiny"}, {}, "derain")),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dotted", "colon"), [("mynets.Net", "mynets:Net"), ("my.nets.Net", "my.nets:Net")])
def test_a_dotted_name_is_told_how_it_is_written(kind, dotted, colon):
    with pytest.raises((ValueError, FileNotFoundError), match=f"write {colon} for one of your own"):
        KINDS[kind](dotted)


@pytest.mark.parametrize("name", ["restormr", "..", "a.", ".b", "1.5", "pairs/photos.png"])
def test_other_names_are_not(name):
    assert "for one of your own" not in _discovery.suggest_part(name, ["restormer"])


@pytest.mark.parametrize("name", ["weights.pth", "mine.safetensors", "state.ckpt", "more.YAML", "runs/a.Net"])
def test_files_that_do_not_exist_are_not(name):
    assert _discovery.advise_colon(name) == ""

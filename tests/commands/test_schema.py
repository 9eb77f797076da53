"""The JSON schema of recipes: every recipe that comes with gesso is one, and mistakes are seen."""

import importlib.util
import json

import pytest

from gesso import _discovery, cli
from gesso._recipes import read_recipe
from gesso.commands._schema import any_recipe, recipe_of
from gesso.options import options_of
from tests._json_schema import faults

RECIPES = sorted((_discovery.ROOT / "recipes").glob("*/*.yaml"))
TWO_VERBS = {"finetune": {"steps": 10, "augment": "mixup"}, "compare": {"starts": "random,ifp", "folds": 4}}


@pytest.fixture(scope="module")
def schemas():
    """The schema of each verb."""
    return {verb: json.loads(json.dumps(recipe_of(verb))) for verb in cli.verbs()}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_recipe_that_comes_with_gesso_is_one(path, schemas):
    assert faults(schemas[path.parent.name], read_recipe(path)) == []


@pytest.mark.skipif(importlib.util.find_spec("jsonschema") is None, reason="jsonschema is not installed")
def test_jsonschema_says_so_too(schemas):
    import jsonschema

    for path in RECIPES:
        jsonschema.Draft7Validator.check_schema(schemas[path.parent.name])
        jsonschema.validate(read_recipe(path), schemas[path.parent.name])


def test_every_option_of_every_verb_is_there_with_its_sentence_and_default(schemas):
    for verb, schema in schemas.items():
        for name, option in options_of(cli.command(verb)).items():
            assert schema["properties"][name]["description"] == option.text
            if not option.is_needed and option.default is not None:
                assert faults(schema["properties"][name], schema["properties"][name]["default"]) == []


@pytest.mark.parametrize(
    ("verb", "recipe", "fault"),
    [
        ("pretrain", {"stpes": 3}, ".stpes: unknown"),
        ("pretrain", {"steps": "3"}, ".steps: no integer"),
        ("pretrain", {"steps": 0}, ".steps: out of range"),
        ("pretrain", {"lr": 0}, ".lr: out of range"),
        ("pretrain", {"ema_decay": 1}, ".ema_decay: none of its kinds"),
        ("pretrain", {"betas": [0.9, 0.99, 0.999]}, ".betas: so many items"),
        ("pretrain", {"optimizer": "sgd"}, ".optimizer: no choice"),
        ("pretrain", {"backbone": "restormr"}, ".backbone: none of its kinds"),
        ("pretrain", {"pretext": "mfm", "pretext_args": {"maks_ratio": 0.5}}, ".pretext_args.maks_ratio: unknown"),
        ("pretrain", {"backbone_args": {"dmi": 8}}, ".backbone_args.dmi: unknown"),
        ("pretrain", {"backbone_args": {"dim": "many"}}, ".backbone_args.dim: no integer"),
        ("finetune", {"task": "derian"}, ".task: none of its kinds"),
        ("finetune", {"resume": "yes"}, ".resume: no boolean"),
        ("compare", {"finetune_args": {"wramup_steps": 2}}, ".finetune_args.wramup_steps: unknown"),
        ("compare", {"pretrain_args": {"steps": -1}}, ".pretrain_args.steps: out of range"),
    ],
)
def test_mistakes_are_seen_where_they_are(verb, recipe, fault, schemas):
    assert faults(schemas[verb], recipe) == [fault]


@pytest.mark.parametrize(
    ("verb", "recipe"),
    [
        ("pretrain", {"backbone": "mynets.small:Net", "backbone_args": {"width": 8}}),
        ("pretrain", {"backbone": "nafnet_tiny", "backbone_args": {"image_channels": 4}}),
        ("pretrain", {"pretext": "ifp", "pretext_args": {"preset": "official_code"}}),
        ("finetune", {"task": "own_task:TASK", "data": "any/folder", "degradation": ["rain", {"name": "jpeg"}]}),
        ("finetune", {"clip_norm": None, "loss": {"name": "charbonnier", "eps": 0.01}, "schedule": "mine:warm"}),
        ("finetune", {"decay_vectors": False}),
    ],
)
def test_what_is_right_passes(verb, recipe, schemas):
    assert faults(schemas[verb], recipe) == []


def test_one_schema_takes_the_recipes_of_all_verbs():
    schema = any_recipe()
    for recipe in TWO_VERBS.values():
        assert faults(schema, recipe) == []
    assert faults(schema, TWO_VERBS["finetune"] | TWO_VERBS["compare"]) != []


def test_schemas_are_printed_or_written(tmp_path, capsys):
    assert cli.main(["schema", "finetune"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(recipe_of("finetune")))
    assert cli.main(["schema", "--out", str(tmp_path / "schemas")]) == 0
    assert sorted(path.name for path in (tmp_path / "schemas").iterdir()) == [
        f"{verb}.schema.json" for verb in sorted(cli.verbs())
    ]
    assert cli.main(["schema", "--out", str(tmp_path / "schemas")]) == cli.BAD_INPUT
    assert "--overwrite" in capsys.readouterr().err
    assert cli.main(["schema", "finetnue"]) == cli.BAD_INPUT
    assert "did you mean finetune?" in capsys.readouterr().err

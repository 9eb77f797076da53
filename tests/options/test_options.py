"""What an option takes: the same from Python, a recipe and the command line, and before anything is built."""

import inspect
import math
import re
import typing
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args

import numpy as np
import pytest
import yaml

import gesso
from gesso import _values, cli
from gesso.options import options_of

VERBS = sorted(cli.verbs())
HUGE = 10**40
ODD = [
    math.nan,
    math.inf,
    -math.inf,
    1e30,
    HUGE,
    -HUGE,
    True,
    "3",
    "",
    [],
    [math.nan],
    {"a": 1},
    {},
    b"3",
    3 + 0j,
    object(),
]


def numbers_of(verb: str) -> list[str]:
    """The options of a verb that take numbers, alone or in lists."""
    kinds = {name: option.kind for name, option in options_of(cli.command(verb)).items()}
    return [name for name, kind in kinds.items() if {int, float} & set(flat(kind))]


def flat(kind: Any) -> list[Any]:
    """All types in a type."""
    return [kind] + [inner for part in get_args(kind) for inner in flat(part)]


def needed(verb: str) -> dict[str, str]:
    """A value for every option that a verb must have."""
    return {name: "x" for name, option in options_of(cli.command(verb)).items() if option.is_needed}


CASES = [(verb, name) for verb in VERBS for name in numbers_of(verb)]


def allowed(kind: Any, value: Any) -> bool:
    """Whether an odd value is none for this type: text where text is one of the choices, 1e30 where it is in range."""
    return any(_values.takes(part, value) for part in get_args(kind) or [kind]) and not isinstance(value, float | int)


@pytest.mark.parametrize(("verb", "name"), CASES, ids=lambda value: value)
def test_a_number_out_of_its_type_or_range_is_refused_by_name_before_anything_is_done(
    verb, name, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    function = cli.function_of(verb)
    kind = options_of(cli.command(verb))[name].kind
    others = {key: item for key, item in needed(verb).items() if key != name}
    for value in ODD:
        if allowed(kind, value) or (name, value) == ("clip_norm", 1e30):
            continue
        with pytest.raises(ValueError, match=rf"^{name}: expected .*, got "):
            function(**{name: value}, **others)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", numbers_of("pretrain"))
def test_a_recipe_and_the_command_line_say_what_python_says(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    kind, recipe = options_of(cli.command("pretrain"))[name].kind, tmp_path / "recipe.yaml"
    for value in (math.nan, "3"):
        if allowed(kind, value) or (name, value) == ("clip_norm", 1e30):
            continue
        recipe.write_text(yaml.safe_dump({name: value}))
        assert cli.main(["pretrain", "--out", "run", "--config", str(recipe)]) == cli.BAD_INPUT
        assert re.search(rf"\b{name}: expected ", capsys.readouterr().err), value
    assert cli.main(["pretrain", "--out", "run", f"--{name}", ".nan"]) == cli.BAD_INPUT
    assert re.search(rf"\b{name}: expected ", capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


NESTED = [
    ("pretrain", {"backbone": "restormer_tiny", "backbone_args": {"dim": "many"}}, "tiny: dim: expected a whole"),
    ("pretrain", {"backbone": "restormer_tiny", "backbone_args": {"dim": math.nan}}, "dim: expected"),
    ("pretrain", {"backbone": "restormer_tiny", "backbone_args": {"dim": True}}, "dim: expected a whole number"),
    ("pretrain", {"backbone": "restormer_tiny", "backbone_args": {"dim": -1}}, "restormer_tiny cannot be built with"),
    ("pretrain", {"backbone": "restormer_tiny", "backbone_args": {"dim": 10**9}}, "restormer_tiny"),
    ("pretrain", {"backbone": "restormer_tiny", "backbone_args": {"num_blocks": [10**9] * 4}}, "more weights"),
    ("pretrain", {"backbone": "restormer_tiny", "backbone_args": {"num_blocks": 3}}, "num_blocks: expected a list"),
    ("pretrain", {"backbone": "restormer_tiny", "backbone_args": {"bias": 1}}, "bias: expected true or false"),
    ("pretrain", {"backbone": "restormer_tiny", "pretext_args": {"mask_ratio": math.nan}}, "mask_ratio: expected"),
    ("pretrain", {"backbone": "restormer_tiny", "pretext_args": {"mask_ratio": "half"}}, "ratio: expected a number"),
    ("pretrain", {"backbone": "restormer_tiny", "pretext_args": {"loss": 3}}, "loss: expected"),
    ("pretrain", {"backbone": "restormer_tiny", "pretext_args": {"decoder_width": -1}}, "cannot be built with"),
    ("pretrain", {"images": 5}, "images: expected a path or a list"),
    ("pretrain", {"images": {"a": 1}}, "images: expected a path or a list"),
    ("pretrain", {"images": [5]}, "images: expected a path or a list"),
    ("pretrain", {"betas": [0.9]}, "betas: expected a list"),
    ("pretrain", {"backbone_args": [1]}, "backbone_args: expected options"),
    ("pretrain", {"optimizer": "sgd"}, "optimizer: expected adam or adamw, got 'sgd'"),
    ("pretrain", {"stepz": 3}, "stepz: there is no such option; did you mean steps"),
    ("pretrain", {"val_every": 3}, "val_every: there is no such option"),
    ("finetune", {"stages": [{"share": math.nan, "crop_size": 8, "batch_size": 1}]}, "stages: expected finite numbers"),
    ("finetune", {"stages": [{"share": True, "crop_size": 8, "batch_size": 1}]}, "share: expected a number, got True"),
    ("finetune", {"stages": [{"share": 1, "crop_size": 1e30, "batch_size": 1}]}, "crop_size: expected a whole number"),
    ("finetune", {"stages": [{"share": 1, "crop_size": 0, "batch_size": 1}]}, "crop_size: expected a positive number"),
    ("finetune", {"stages": [{"share": 1}]}, "stages: expected batch_size, crop_size, share in every stage"),
    ("finetune", {"stages": [3]}, "stages: expected a list"),
    ("finetune", {"task": "derain", "data": "leaves", "degradation": 5}, "degradation: expected"),
    ("finetune", {"task": "denoise", "data": "leaves", "backbone": "restormer_tiny",
                  "degradation": {"name": "gaussian_noise", "sigma": math.inf}}, "expected finite numbers"),
    ("finetune", {"task": "denoise", "data": "leaves", "backbone": "restormer_tiny",
                  "degradation": {"name": "gaussian_noise", "sigma": "25"}}, "sigma: expected a number"),
    ("finetune", {"task": "denoise", "data": "leaves", "backbone": "restormer_tiny",
                  "degradation": {"name": "gaussian_noise", "clip": 1}}, "clip: expected true or false"),
    ("finetune", {"task": "all-in-one", "backbone": "restormer_tiny",
                  "mix": [{"task": "denoise", "repeats": True}, {"task": "derain"}]}, "repeats: expected a whole"),
    ("evaluate", {"task": "derain", "protocol": {"border": "a"}}, "protocol: border: expected a whole number"),
    ("evaluate", {"task": "derain", "protocol": {"round_y": 1}}, "protocol: round_y: expected true or false"),
    ("refine", {"ablation": "half"}, "ablation: expected full or"),
    ("compare", {"task": "derain", "steps": 3, "finetune_args": {"weight_decay": "x"}}, "weight_decay: expected a"),
    ("compare", {"task": "derain", "steps": 3, "finetune_args": {"weight_decay": math.nan}}, "expected finite"),
    ("compare", {"task": "derain", "steps": 3, "finetune_args": {"clip_norm": -1}}, "clip_norm: expected a pos"),
    ("restore", {"checkpoint": "x", "tile": "big"}, "tile: expected auto or a whole number or null, got 'big'"),
    ("degrade", {"image_channels": True}, "image_channels: expected 1 or 3 or 4, got True"),
]  # fmt: skip


@pytest.mark.parametrize(("verb", "options", "message"), NESTED)
def test_values_are_refused_at_any_depth(verb, options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        cli.function_of(verb)(**{**options, **{k: v for k, v in needed(verb).items() if k not in options}})
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**needed(verb), **options}))
    assert cli.main([verb, "--config", "recipe.yaml"]) == cli.BAD_INPUT
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert len(error.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_says_what_is_missing_or_too_much(verb):
    function = cli.function_of(verb)
    if names := list(needed(verb)):
        with pytest.raises(ValueError, match=f"{names[0]} is missing"):
            function()
    with pytest.raises(ValueError, match=r"expected . options without a name, got 4"):
        function("a", "b", "c", "d")
    with pytest.raises(ValueError, match=r"ovrewrite: there is no such option"):
        function(ovrewrite=True)


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        (int, [0, -3, np.int64(3)], [1.0, "1", True, None, np.bool_(True)]),
        (float, [0, 0.5, np.float32(1)], ["0.5", math.nan, False, None]),
        (bool, [True], [1, "true", None]),
        (str | Path, ["a", Path("a")], [5, None, b"a"]),
        (str | None, ["a", None], [5, Path("a")]),
        (Literal["a", 1], ["a", 1], ["b", True, 1.0]),
        (list[int], [[1], (1, 2), []], ["12", [True], {1: 2}, [1.5]]),
        (tuple[float, float], [(1, 2), [0.1, 0.2]], [(1,), (1, 2, 3), "12"]),
        (dict[str, Any], [{}, {"a": [1]}], [{1: 2}, {"a": math.inf}, [], "a"]),
        (Any, [None, "x", {"a": 1}], [math.nan, [[math.inf]]]),
        (list[dict[str, Any]] | None, [None, [{}]], [[1], {}]),
    ],
)
def test_types_take_what_they_say(kind, right, wrong):
    assert [value for value in right if not _values.takes(kind, value)] == []
    assert [value for value in wrong if _values.takes(kind, value)] == []


def test_errors_are_short_however_much_was_given():
    assert len(_values.shown({str(i): "x" * 1000 for i in range(1000)})) < 500
    assert _values.shown(10**5000) == "a number of thousands of digits"


def test_public_verbs_keep_their_signatures():
    parameters = inspect.signature(gesso.restore).parameters
    assert [name for name, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD] == ["input", "out"]
    assert NoneType not in typing.get_type_hints(gesso.pretrain).values()

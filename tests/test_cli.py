"""The command line: what a person types, and what it answers."""

import dataclasses
import re
import shlex
import subprocess
import sys

import pytest

from gesso import _discovery, cli
from gesso.commands.finetune import Finetune
from gesso.options import options_of
from gesso.report.console import console

FINE = ["finetune", "--out", "x", "--task", "derain", "--data", "leaves"]
TINY = ["pretrain", "--out", "x", "--backbone", "restormer_tiny"]


HEAVY = "print([name for name in ('torch', 'numpy', 'cv2', 'lightning') if name in sys.modules])"


@pytest.mark.parametrize(
    ("short", "meant"), [("--step", "steps"), ("--batch", "batch_size"), ("--crop_siz", "crop_size")]
)
def test_the_beginning_of_an_option_is_no_option(short, meant, tmp_path):
    """Beside a recipe, which has an option of the whole name, it would be one that nobody gave."""
    words = ["--config", "few_pairs", "--out", str(tmp_path), "--data", str(tmp_path), short, "2"]
    with pytest.raises(ValueError, match=f"{short}: there is no such option; (did you mean|known: ).*{meant}"):
        cli.read_options(cli.command("finetune"), words)


def test_help_imports_neither_torch_nor_a_parser():
    code = f"import sys; from gesso import cli; cli.main(['--help']); {HEAVY.replace('numpy', 'jsonargparse')}"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert answer.strip().endswith("[]")
    assert all(verb in answer for verb in cli.verbs())


def test_the_help_of_every_verb_imports_no_torch():
    verbs = "[cli.parser_for(cli.command(verb)).format_help() for verb in cli.verbs()]"
    code = f"import sys; from gesso import cli; {verbs}; {HEAVY}"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert answer.strip() == "[]"


@pytest.mark.parametrize("verb", cli.verbs())
def test_help_begins_with_an_example_that_parses(verb):
    command = cli.command(verb)
    words = shlex.split(command.example)
    assert words[:2] == ["gesso", verb]
    assert cli.read_options(command, words[2:])
    assert f"example: {command.example}" in " ".join(cli.parser_for(command).format_help().split())


def test_a_command_is_a_value():
    """It compares, is changed by `dataclasses.replace`, is checked when it is made, and does not change."""
    one = Finetune(task="derain", out="x", steps=3)
    assert one == Finetune(out="x", task="derain", steps=3)
    assert dataclasses.replace(one, steps=4).steps == 4
    with pytest.raises(ValueError, match="steps: expected a positive number, got 0"):
        dataclasses.replace(one, steps=0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.steps = 5  # pyright: ignore


@pytest.mark.parametrize("verb", cli.verbs())
def test_every_option_of_every_verb_is_documented(verb):
    parser = cli.parser_for(cli.command(verb))
    undocumented = [action.dest for action in parser._actions if not action.help]
    assert undocumented == []
    assert "default:" in parser.format_help()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pretrian"], "did you mean pretrain?"),
        (["pretrain", "--otu", "x"], "did you mean out?"),
        (["pretrain", "--out", "x", "--pretext", "ifpp"], "did you mean ifp?"),
        ([*FINE, "--degradation.name", "rain", "--degradation.denisty", "1"], "did you mean density?"),
        (
            ["finetune", "--out", "x", "--task", "sr", "--scale", "8", "--data", "leaves", "--backbone", "swinir_tiny"],
            "sr: the network does not enlarge, but the task asks for scale 8; others do: swinir_classical_x8",
        ),
        ([*TINY, "--pretext_args.degradation.name", "rain"], "write --pretext_args.degradation '{name: ...}'"),
        (["pretrain", "--out", "x", "--backbone", "restormer_tny"], "did you mean restormer_tiny"),
        ([*TINY, "--pretext_args.mask_ration", "0.5"], "did you mean mask_ratio?"),
        ([*TINY, "--pretext_args.mask_ratio", "1.5"], "mask_ratio"),
        ([*TINY, "--steps", "-3"], "positive"),
        ([*TINY, "--val_every", "1"], "--val_every: there is no such option; did you mean"),
        ([*FINE, "--val_every", "-1"], "val_every: expected 0 or more, got -1"),
        ([*FINE, "--clip_norm", "-1"], "clip_norm: expected a positive number, got -1"),
        ([*FINE, "--ema_decay", "1"], "ema_decay: expected 0 or more and less than 1, got 1"),
        ([*FINE, "--betas", "[0.9, 1.5]"], "betas: expected 0 or more and less than 1, got (0.9, 1.5)"),
        (["finetune", "--mix", "[derain, haze]"], "expected a list [..., ...] or null, got ['derain', 'haze']\n"),
        ([*TINY, "--steps", "many"], "gesso pretrain: --steps: expected a whole number or null, got many\n"),
        ([*TINY, "--compile", "fast"], "--compile: expected default or reduce-overhead or null, got fast\n"),
        ([*TINY, "--compile.mode", "fast"], "null, got {'mode': 'fast'}\n"),
        ([*TINY, "--pretext_args", "5"], "--pretext_args: expected options {name: value} or null, got 5\n"),
        (["pretrain", "--config", "ifpp"], "did you mean ifp"),
        (["pretrain"], "out"),
        (["list", "backbone"], "backbones"),
        (["list", "pretexts", "ifpp"], "did you mean ifp?"),
        (["finetune", "pairs"], "gesso finetune: pairs: expected --option value; gesso finetune --help lists"),
        (["check-data", "pairs", "more"], "gesso check-data: more: expected --option value"),
        ([*TINY, "--backbone_args.dim", "many"], "restormer_tiny: dim: expected a whole number, got 'many'"),
        ([*TINY, "--out", ""], "gesso pretrain: --out: expected a path, got nothing"),
        ([*TINY, "--out", __file__], "expected a folder for the run, this is a file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_bad_input_ends_with_2_and_says_what_to_do(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(words) == cli.BAD_INPUT
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_an_unknown_key_in_a_recipe_is_named(capsys, tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("backbone: restormer_tiny\nstpes: 3\n")
    assert cli.main(["pretrain", "--config", str(recipe), "--out", str(tmp_path / "run")]) == cli.BAD_INPUT
    assert "did you mean steps?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"steps: 2\nlr: 1.0e-4\nsteps: 3\n", "mine.yaml: steps is given 2 times; keep one"),
        (b"backbone_args.dim: 8\n", "backbone_args.dim: in a recipe this is written as `backbone_args: {dim: ...}`"),
        (b"", "mine.yaml: expected options, each as `name: value`, got nothing"),
        (b"steps, 3\n", "mine.yaml: expected options, each as `name: value`, got a scalar"),
        (b"- steps: 3\n", "mine.yaml: expected options, each as `name: value`, got a sequence"),
        ("steps: 3\n".encode("utf-16"), "mine.yaml: expected text in UTF-8"),
    ],
)  # fmt: skip
def test_what_is_no_recipe_is_refused_by_name(text, message, capsys, tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_bytes(text)
    assert cli.main(["pretrain", "--config", str(recipe), "--out", str(tmp_path / "run")]) == cli.BAD_INPUT
    assert message in capsys.readouterr().err


def test_recipes_of_other_editors_are_read_and_home_is_put_in(tmp_path, monkeypatch):
    """Windows line ends, a byte order mark, no suffix; `~` in a recipe and behind `=`, where shells leave it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine").write_bytes(b"\xef\xbb\xbfinit: ~/a.pth\r\nmix:\r\n- {data: ~/b}\r\n")
    finetune = cli.command("finetune")
    given = ["--config=~/mine", "--out=~/run", "--task", "derain"]
    read = cli.read_options(finetune, given)
    assert read["out"] == f"{tmp_path}/run"
    assert read["init"] == f"{tmp_path}/a.pth"
    assert read["mix"] == [{"data": f"{tmp_path}/b"}]


KINDS = ["backbones", "pretexts", "refiners", "degradations", "sources", "layouts", "tasks", "recipes", "primed"]


@pytest.mark.parametrize("kind", KINDS)
def test_list_shows_every_kind_in_80_columns(kind, capsys, monkeypatch):
    monkeypatch.setattr(console, "_width", 80)
    assert cli.main(["list", kind]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 1
    assert max(map(len, lines)) <= 80


def test_list_shows_options_with_defaults(capsys):
    assert cli.main(["list", "pretexts", "ifp"]) == 0
    answer = capsys.readouterr().out
    assert "mask_ratio" in answer
    assert "0.75" in answer


def test_list_tells_the_sizes_of_a_network_apart(capsys):
    assert cli.main(["list", "backbones"]) == 0
    assert re.search(r"uformer_b +embed_dim 32, depths 1 2 8 8 2 8 8 2 1\b", capsys.readouterr().out)
    assert cli.main(["list", "backbones", "uformer_b"]) == 0
    assert "50,880,946 parameters" in capsys.readouterr().out


def test_help_says_what_an_option_takes_in_words(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["finetune", "--help"])
    answer = " ".join(capsys.readouterr().out.split())
    assert "folder of the run. (a path, required)" in answer
    assert '"network" or "paper", see above. (default: network)' in answer
    assert "--task TASK" in answer
    assert "Union[" not in answer
    assert "null" not in answer


@pytest.mark.parametrize("words", [["--tile", "none"], ["--tile=none"], ["--tile", "null"]])
def test_none_is_nothing_where_there_may_be_nothing(words):
    restore = cli.command("restore")
    given = ["in", "out", "--checkpoint", "none", *words]
    read = cli.read_options(restore, given)
    assert read["tile"] is None
    assert read["checkpoint"] == "none"


def test_options_of_options_add_up():
    words = ["--degradation.name", "rain", "--degradation.density=0.1,0.2", "--backbone_args.heads", "1,2,4,8"]
    words += ["--loss", "l1", "--critic=x/1,2", "--betas", "[0.9, 0.99]"]
    finetune = cli.command("finetune")
    read = cli.read_options(finetune, [*FINE[1:], *words])
    assert read["degradation"] == {"name": "rain", "density": [0.1, 0.2]}
    assert read["backbone_args"] == {"heads": [1, 2, 4, 8]}
    assert (read["loss"], str(read["critic"]), read["betas"]) == ("l1", "x/1,2", (0.9, 0.99))


def test_a_recipe_is_shown_with_or_without_its_verb(capsys):
    assert cli.main(["list", "recipes", "finetune/derain"]) == 0
    alone = capsys.readouterr().out
    assert cli.main(["list", "recipes", "derain"]) == 0
    both = capsys.readouterr().out
    assert alone in both
    assert "# evaluate/derain" in both


@pytest.mark.parametrize(("before", "now"), [("gesso", "restore_leaves"), ("gesso_small", "restore_leaves_small")])
def test_recipes_are_found_by_the_names_they_had_too(before, now):
    assert _discovery.recipe_file("pretrain", before) == _discovery.recipe_file("pretrain", now)
    assert before not in _discovery.recipes("pretrain")


@pytest.mark.parametrize("words", [["help", "restore"], ["restore", "--help"]])
def test_help_says_what_is_given_by_position(words, capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(words)
    assert "usage: gesso restore INPUT OUT [--config" in capsys.readouterr().out


@pytest.mark.parametrize("path", sorted((_discovery.ROOT / "recipes").glob("*/*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_parses(path):
    verb = path.parent.name
    command = cli.command(verb)
    text = path.read_text()
    missing = [name for name, option in options_of(command).items() if option.is_needed and f"\n{name}:" not in text]
    given = [word for name in missing for word in (f"--{name}", "x")]
    options = command(**cli.read_options(command, ["--config", path.stem, *given]))
    assert text.startswith("#")
    assert options is not None


def test_list_alone_names_all_there_is(capsys):
    assert cli.main(["list"]) == 0
    said = capsys.readouterr().out
    assert all(
        word in said for word in ("backbones", "restormer_tiny", "pretexts", "ifp", "recipes", "gesso list KIND")
    )
    assert max(map(len, said.splitlines())) <= 80

"""Completion by the Tab key, as the shells themselves answer."""

import os
import shutil
import subprocess

import pytest

from gesso import cli

BASH = """
source {script}
COMP_WORDS=({words}) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)) COMPREPLY=()
_gesso
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
CASES = [
    ("gesso fine", ["finetune"]),
    ("gesso pr", ["pretrain", "primed", "probe"]),
    ("gesso finetune --schedu", ["--schedule"]),
    ("gesso finetune --optimizer ad", ["adam", "adamw"]),
    ("gesso finetune --backbone nafnet_ti", ["nafnet_tiny"]),
    ("gesso finetune --task lowl", ["lowlight"]),
    ("gesso pretrain --pretext mas", ["maskdcpt"]),
    ("gesso finetune --config few", ["few_pairs"]),
    ("gesso refine --config ptg_rm_c", ["ptg_rm_clip"]),
    ("gesso list pret", ["pretexts"]),
    ("gesso restore pho", ["photos of mine"]),
    ("gesso finetune --init pho", ["photos of mine"]),
    ("gesso completion f", ["fish"]),
]


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """The script of each shell, and a folder to look into."""
    folder = tmp_path_factory.mktemp("completion")
    (folder / "photos of mine").mkdir()
    for shell in ("bash", "zsh", "fish"):
        assert cli.main(["completion", shell, "--out", str(folder / shell)]) == 0
    return folder


def ask(shell, text, folder):
    """What a shell answers."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    home = os.environ | {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    answer = subprocess.run([shell, "-c", text], cwd=folder, capture_output=True, text=True, check=True, env=home)
    assert answer.stderr == ""
    return answer.stdout.splitlines()


@pytest.mark.parametrize(("words", "expected"), CASES)
def test_bash_completes(words, expected, scripts):
    assert ask("bash", BASH.format(script=scripts / "bash", words=words), scripts) == expected


@pytest.mark.parametrize(("words", "expected"), CASES)
def test_fish_completes(words, expected, scripts):
    found = ask("fish", f"source {scripts / 'fish'}; complete -C '{words}'", scripts)
    assert [line.split("\t")[0].rstrip("/").replace("\\", "") for line in found] == expected


@pytest.mark.parametrize("words", ["gesso finetune --optimizer = ad"])
def test_bash_completes_behind_an_equals_sign(words, scripts):
    assert ask("bash", BASH.format(script=scripts / "bash", words=words), scripts) == ["adam", "adamw"]


def test_zsh_takes_its_script(scripts):
    ask("zsh", f"autoload -Uz compinit; compinit -u -D; source {scripts / 'zsh'}; whence -f _gesso", scripts)
    text = (scripts / "zsh").read_text()
    for verb in cli.verbs():
        assert f"\n        {verb}) _arguments" in text
    assert "--optimizer=[adam or adamw]:value:(adam adamw)" in text


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_option_of_every_verb_is_in_the_script(shell, scripts):
    text = (scripts / shell).read_text()
    for verb in cli.verbs():
        for option in cli.options_of(cli.command(verb)):
            assert option in text, (verb, option)


def test_a_script_is_printed_where_no_file_is_named(scripts, capsys):
    assert cli.main(["completion", "fish"]) == 0
    assert capsys.readouterr().out == (scripts / "fish").read_text()


def test_another_shell_is_refused(capsys):
    assert cli.main(["completion", "tcsh"]) == cli.BAD_INPUT
    assert "expected bash or zsh or fish, got tcsh" in capsys.readouterr().err

"""Completion of verbs, options, choices, names and recipes by the Tab key of bash, zsh or fish."""

import re
import shlex
import sys
from pathlib import Path
from typing import NamedTuple, get_args

from gesso import _discovery
from gesso.commands import _verbs
from gesso.commands._choices import choices
from gesso.commands._parser import plain
from gesso.commands.completion import Completion
from gesso.data.io import atomic_text
from gesso.options import Option, options_of
from gesso.report.console import say


class Completed(NamedTuple):
    """What may stand behind a flag, or at a place.

    Attributes:
        text: what it means, in its first words.
        words: what gesso knows that it takes.
        is_path: whether it may be a file or folder.
        is_switch: whether it may stand alone.
    """

    text: str
    words: list[str]
    is_path: bool
    is_switch: bool = False


class Verb(NamedTuple):
    """What a verb takes.

    Attributes:
        text: its sentence.
        places: what is given without a flag, in order.
        flags: what is given by name.
    """

    text: str
    places: list[Completed]
    flags: dict[str, Completed]


def run(command: Completion) -> None:
    """Does what `gesso.commands.completion.Completion` describes."""
    script = {"bash": bash, "zsh": zsh, "fish": fish}[command.shell]
    text = script({verb: verb_words(verb) for verb in _verbs.homes()})
    if command.out is None:
        sys.stdout.write(text)
        return
    with atomic_text(Path(command.out)) as file:
        file.write(text)
    say(f"written to {command.out}; shells that are begun from now on complete gesso")


def verb_words(verb: str) -> Verb:
    """What may stand on the command line of a verb."""
    known = options_of(_verbs.command(verb))
    flags = {name: completed(option) for name, option in known.items()}
    places = [flags[name] for name, option in known.items() if option.positional]
    recipes = sorted(_discovery.recipes(verb.replace("-", "_")))
    flags |= {
        "config": Completed("a recipe by name, or a YAML file", recipes, is_path=True),
        "allow_code": Completed("let --config name classes of your own", [], is_path=False, is_switch=True),
        "print_config": Completed("print all options as a recipe", [], is_path=False, is_switch=True),
        "help": Completed("what the options mean", [], is_path=False, is_switch=True),
    }
    return Verb(_verbs.verbs()[verb], places, flags)


def completed(option: Option) -> Completed:
    """What an option takes."""
    kinds = get_args(plain(option.kind)) or (plain(option.kind),)
    words = [word for word in choices(option.kind) if re.fullmatch(r"[\w.+-]+", word)]
    return Completed(first_words(option.text), words, Path in kinds, bool in kinds)


def first_words(text: str, most: int = 70) -> str:
    """The beginning of a sentence, without marks that shells take for theirs.

    Example:
        >>> first_words('"adam" or "adamw"; see `docs`.'), first_words("one two three", most=8)
        ('adam or adamw', 'one two')
    """
    text = re.sub(r"""["'`\\$\[\]:]""", "", re.split(r"[;:.(](?:\s|$)", text)[0]).strip()
    return text if len(text) <= most else text[: most + 1].rsplit(" ", 1)[0]


def sets_of_words(verbs: dict[str, Verb]) -> dict[str, str]:
    """The words of each option that has some, as a pattern of `VERB:FLAG` -> words; alike ones share a line."""
    found: dict[str, list[str]] = {}
    for verb, one in verbs.items():
        for flag, what in one.flags.items():
            found.setdefault(" ".join(what.words), []).append(f"{verb}:--{flag}")
    found.pop("", None)
    return {"|".join(keys): words for words, keys in found.items()}


# ---------------------------------------------------------------------------------------------------------- bash

BASH = """\
# completion of gesso for bash; written by `gesso completion bash`
_gesso() {{
    local cur="${{COMP_WORDS[COMP_CWORD]}}" prev="${{COMP_WORDS[COMP_CWORD-1]}}" verb="${{COMP_WORDS[1]}}"
    local words="" paths=""
    [[ $cur == "=" ]] && cur=""
    [[ $prev == "=" ]] && prev="${{COMP_WORDS[COMP_CWORD-2]}}"
    if (( COMP_CWORD == 1 )); then
        COMPREPLY=($(compgen -W "{verbs} --help --version" -- "$cur"))
        return
    fi
    if [[ $cur == -* ]]; then
        case $verb in
{flags}
        esac
        COMPREPLY=($(compgen -W "$words" -- "$cur"))
        return
    fi
    case $verb:$prev in
{words}
    esac
    case $verb:$prev in
{paths}
    esac
    case $verb:$COMP_CWORD:$prev in
        *:--*) ;;
{places}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
    if [[ -n $paths ]]; then
        compopt -o filenames 2>/dev/null
        local IFS=$'\\n'
        COMPREPLY+=($(compgen -f -- "$cur"))
    fi
}}
complete -F _gesso gesso
"""


def bash(verbs: dict[str, Verb]) -> str:
    """The script for bash."""
    flags = {verb: " ".join(f"--{flag}" for flag in one.flags) for verb, one in verbs.items()}
    paths = [f"{verb}:--{flag}" for verb, one in verbs.items() for flag, what in one.flags.items() if what.is_path]
    places = [
        f'        {verb}:{number}:*) words="{" ".join(what.words)}" paths={"1" * what.is_path} ;;'
        for verb, one in verbs.items()
        for number, what in enumerate(one.places, start=2)
    ]
    return BASH.format(
        verbs=" ".join(verbs),
        flags="\n".join(f'            {verb}) words="{words}" ;;' for verb, words in flags.items()),
        words="\n".join(f'        {keys}) words="{words}" ;;' for keys, words in sets_of_words(verbs).items()),
        paths=f"        {'|'.join(paths)}) paths=1 ;;",
        places="\n".join(places),
    )


# ----------------------------------------------------------------------------------------------------------- zsh

ZSH = """\
#compdef gesso
# completion of gesso for zsh; written by `gesso completion zsh`
_gesso_words_or_files() {{ _alternative "words:word:($*)" "files:file:_files" }}
_gesso() {{
    local -a verbs
    verbs=({verbs})
    if (( CURRENT == 2 )); then
        _describe verb verbs
        return
    fi
    local verb=$words[2]
    shift words
    (( CURRENT-- ))
    case $verb in
{cases}
    esac
}}
if [[ $funcstack[1] == _gesso ]]; then
    _gesso "$@"
else
    compdef _gesso gesso
fi
"""


def zsh(verbs: dict[str, Verb]) -> str:
    """The script for zsh."""
    named = [shlex.quote(f"{verb}:{first_words(one.text)}") for verb, one in verbs.items()]
    cases = []
    for verb, one in verbs.items():
        specs = [f"--{flag}=[{what.text}]{zsh_action(what)}" for flag, what in one.flags.items()]
        specs += [f"{number}{zsh_action(what)}" for number, what in enumerate(one.places, start=1)]
        lines = " \\\n            ".join(shlex.quote(spec) for spec in specs)
        cases.append(f"        {verb}) _arguments \\\n            {lines} ;;")
    return ZSH.format(verbs=" ".join(named), cases="\n".join(cases))


def zsh_action(what: Completed) -> str:
    """What zsh is told that an option takes: `:message:action`."""
    words = " ".join(what.words)
    action = f"({words})" if words else " "
    if what.is_path:
        action = f" _gesso_words_or_files {words}" if words else "_files"
    return f"{':' * (1 + what.is_switch)}value:{action}"


# ---------------------------------------------------------------------------------------------------------- fish


def fish(verbs: dict[str, Verb]) -> str:
    """The script for fish."""
    lines = ["# completion of gesso for fish; written by `gesso completion fish`", "complete -c gesso -f"]
    lines += [
        f"complete -c gesso -n __fish_use_subcommand -a {verb} -d {shlex.quote(first_words(one.text))}"
        for verb, one in verbs.items()
    ]
    for verb, one in verbs.items():
        begin = f"complete -c gesso -n '__fish_seen_subcommand_from {verb}'"
        lines += [
            f"{begin} -l {flag}{fish_takes(what)} -d {shlex.quote(what.text)}" for flag, what in one.flags.items()
        ]
        for number, what in enumerate(one.places, start=2):
            place = f"test (count (commandline -opc)) -eq {number}"
            begin_place = f"complete -c gesso -n '__fish_seen_subcommand_from {verb}; and {place}'"
            lines.append(begin_place + fish_takes(what).replace(" -r", "").replace(" -x", ""))
    return "\n".join(lines) + "\n"


def fish_takes(what: Completed) -> str:
    """What fish is told that an option takes."""
    words = f" -a {shlex.quote(' '.join(what.words))}" if what.words else ""
    value = "" if what.is_switch else " -r" if what.is_path else " -x"
    return f"{value}{' -F' if what.is_path else ''}{words}"

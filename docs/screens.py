"""Takes the screens that the tutorial shows, by running its commands: `python docs/screens.py FOLDER`.

FOLDER holds `pairs/{input,target}`. A comparison that is there is taken as it is, so a second call takes minutes.
Terminals become SVG (rich), pages WebP (headless Chromium, where there is one). They are written into
`docs/figures/screens`, each under 250 kB.
"""

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
SCREENS = ROOT / "docs" / "figures" / "screens"
TUTORIAL = ROOT / "docs" / "tutorials" / "few_pairs.md"
WIDTH = 100  # letters
TERMINALS = {"check-data": "gesso check-data", "compare": "gesso compare", "restore": "gesso restore"}
PAGES = {  # width and height in pixels, how far it is scrolled, and colours
    "page-desktop": (1280, 1180, 0, "light"),
    "page-desktop-dark": (1280, 1180, 0, "dark"),
    "page-phone": (360, 1180, 0, "light"),
}
LAST_LINES = 24
MADE = ("at_once", "restored", "runs")  # what the commands write, and will not overwrite
LAST = "gesso pretrain"  # no screen shows what comes from here on


def commands_of(page: Path) -> list[str]:
    """The `gesso` lines of a page's shell blocks."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.startswith("gesso ")]


def run(command: str, folder: Path) -> str:
    """What a command prints in a folder; it may end with exit code 1, as `check-data` does."""
    words = [sys.executable, "-m", *shlex.split(command, comments=True)]
    environment = {**os.environ, "COLUMNS": str(WIDTH), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{command}: exit code {done.returncode}\n{done.stdout}")
    return done.stdout


def draw_terminal(command: str, output: str) -> str:
    """An SVG of a terminal: the command and the last lines that it printed. Nothing is fetched to show it."""
    lines = output.rstrip().split("\n")
    shown = lines if len(lines) <= LAST_LINES else ["...", *lines[-LAST_LINES:]]
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ {command}", style="bold"))
    console.print(Text.from_ansi("\n".join(line.rsplit("\r", 1)[-1] for line in shown)))
    drawing = console.export_svg(title="gesso")
    return re.sub(r"@font-face \{.*?\}", "", drawing, flags=re.DOTALL)


def take_page(page: Path, width: int, height: int, scrolled: int, scheme: str) -> bytes:
    """A picture of a page as WebP."""
    sys.path.insert(0, str(ROOT))
    from tests.report._browser import Browser

    with Browser(page) as browser:
        browser.prefer(scheme)
        browser.resize(width, height)
        clip = {"x": 0, "y": scrolled, "width": width, "height": height, "scale": 1}
        return browser.screenshot(format="webp", quality=80, clip=clip)


def main(folder: Path) -> None:
    """Takes all screens."""
    SCREENS.mkdir(parents=True, exist_ok=True)
    for made in MADE:
        shutil.rmtree(folder / made, ignore_errors=True)
    for command in commands_of(TUTORIAL):
        if command.startswith(LAST):
            break
        output = run(command, folder)
        for name, begin in TERMINALS.items():
            if command.startswith(begin):
                (SCREENS / f"{name}.svg").write_text(draw_terminal(command, output), encoding="utf-8")
    for name, view in PAGES.items():
        (SCREENS / f"{name}.webp").write_bytes(take_page(folder / "compared" / "comparison.html", *view))
    for path in sorted(SCREENS.iterdir()):
        print(path.relative_to(ROOT), path.stat().st_size)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())

"""For the site: the pages of `research/`, which lies beside `docs/` in the repository and within it on the site."""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages and figures of `research/`."""
    for path in sorted((ROOT / "research").rglob("*")):
        if path.suffix in (".md", ".svg"):
            files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turns links of the repository into those of the site."""
    here = page.file.src_uri
    if here.startswith("research/"):
        return markdown.replace("](../docs/", "](../")
    up = "../" * here.count("/")
    return markdown.replace(f"]({up}../research/", f"]({up}research/")

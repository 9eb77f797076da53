"""What tells others about exported weights: a model card as Hugging Face shows it, and an entry of OpenModelDB."""

import datetime
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gesso._discovery import check_names
from gesso.backbones import Backbone
from gesso.data.io import atomic_text

ASKED = ("name", "author", "license", "description", "dataset", "urls")
"""What only its author knows of a model."""

TAGS = {
    "denoise": "denoise", "realnoise": "denoise", "deblur": "deblur", "defocus": "deblur", "jpeg": "jpeg",
    "inpaint": "inpainting", "inpainting": "inpainting", "sr": "general-upscaler",
}  # fmt: skip
"""Tags of OpenModelDB by task."""

PLATFORMS = {".pth": ("pytorch", "pth"), ".safetensors": ("pytorch", "safetensors"), ".onnx": ("onnx", "onnx")}
"""Platform and type of the files that OpenModelDB lists, by suffix."""


@dataclass(frozen=True)
class Exported:
    """What a card tells of: exported files, and what is known of them.

    Attributes:
        network: what was exported.
        header: of the file that it came from; empty for one that is not of gesso.
        recipe: of the run that made it, as far as it is known.
        files: what was exported.
        told: what the author says, see `ASKED`.
    """

    network: Backbone
    header: Mapping[str, Any]
    recipe: Mapping[str, Any]
    files: Sequence[Path]
    told: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What the model is called."""
        return str(self.told.get("name") or self.files[0].stem)


def write_cards(folder: Path, exported: Exported) -> list[Path]:
    """Writes the model card (`README.md`) and the entry of OpenModelDB (`1x-NAME.json`) of exported files.

    Raises:
        UnknownNameError: for something else in what is told.
    """
    check_names(exported.told, ASKED, "card_facts")
    entry = json.dumps(database_entry(exported), indent=4, ensure_ascii=False)
    contents = {
        folder / "README.md": model_card(exported),
        folder / entry_name(exported.name, exported.network.scale): entry,
    }
    for path, text in contents.items():
        with atomic_text(path) as file:
            file.write(text.rstrip() + "\n")
    return list(contents)


def card_paths(folder: Path, name: str, scale: int) -> list[Path]:
    """The files that `write_cards` writes."""
    return [folder / "README.md", folder / entry_name(name, scale)]


def entry_name(name: str, scale: int) -> str:
    """The file of an entry: its identifier, of letters, digits and single hyphens.

    Example:
        >>> entry_name("derain_small v2", 1)
        '1x-derain-small-v2.json'
    """
    return f"{scale}x-{'-'.join(re.findall('[a-zA-Z0-9]+', name)) or 'model'}.json"


def database_entry(exported: Exported) -> dict[str, Any]:
    """An entry of OpenModelDB, in the form of its `data/models`; `urls` and images are its author's to add."""
    network, header, recipe = exported.network, exported.header, exported.recipe
    files, told = exported.files, exported.told
    task, urls = str(header.get("task") or ""), told.get("urls") or []
    resources = [
        {
            "platform": PLATFORMS[path.suffix.lower()][0],
            "type": PLATFORMS[path.suffix.lower()][1],
            "size": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "urls": [urls] if isinstance(urls, str) else list(urls),
        }
        for path in files
        if path.suffix.lower() in PLATFORMS
    ]
    training = {
        "trainingIterations": header.get("step"),
        "trainingBatchSize": recipe.get("batch_size"),
        "trainingHRSize": recipe["crop_size"] * network.scale if "crop_size" in recipe else None,
        "dataset": told.get("dataset"),
    }
    return {
        "name": exported.name,
        "author": told.get("author") or "unknown",
        "license": told.get("license"),
        "tags": sorted({"photo", "restoration", *([TAGS[task]] if task in TAGS else [])}),
        "description": told.get("description") or describe(network, header),
        "date": datetime.date.today().isoformat(),
        "architecture": type(network).__name__.lower(),
        "size": [header["variant"]] if header.get("variant") else None,
        "scale": network.scale,
        "inputChannels": network.in_channels,
        "outputChannels": network.out_channels,
        "resources": resources,
        **{key: value for key, value in training.items() if value is not None},
        "images": [],
    }


def describe(network: Backbone, header: Mapping[str, Any]) -> str:
    """A model in a sentence."""
    kind = header.get("variant") or type(network).__name__
    start = header.get("init")
    began = f", trained from {start}" if start and start != "random" else ""
    return f"{kind} for {header.get('task') or header.get('pretext') or 'image restoration'}{began}, by gesso."


def model_card(exported: Exported) -> str:
    """A model card, with the headings and the front matter of Hugging Face's."""
    network, header, recipe = exported.network, exported.header, exported.recipe
    files, told = exported.files, exported.told
    front = {
        "license": str(told.get("license") or "other").lower(),
        "library_name": "gesso",
        "pipeline_tag": "image-to-image",
        "tags": ["image-restoration", *([str(header["task"])] if header.get("task") else [])],
    }
    measured = {key: value for key, value in header.items() if str(key).startswith("validation_")}
    lines = ["---", yaml.safe_dump(front, sort_keys=False).strip(), "---", "", f"# {exported.name}", ""]
    lines += [str(told.get("description") or describe(network, header)), "", "## Model details", ""]
    facts = {
        "Developed by": told.get("author") or "unknown",
        "Architecture": f"{type(network).__name__} ({header.get('variant') or 'of its own size'})",
        "Parameters": f"{sum(weight.numel() for weight in network.parameters()):,}",
        "Input": f"{network.in_channels} channels in [0, 1], sides multiples of {network.size_multiple}",
        "Output": f"{network.out_channels} channels, {network.scale} times as large",
        "License": told.get("license") or "not stated",
    }
    lines += [f"- **{key}:** {value}" for key, value in facts.items()]
    lines += ["", "## Uses", "", f"Restoration of images: {header.get('task') or 'see above'}.", ""]
    lines += ["## How to get started", "", "```python", *how_to_start(network, files[0]), "```", ""]
    lines += ["## Training details", "", f"- **Data:** {told.get('dataset') or recipe.get('data') or 'not stated'}"]
    lines += [f"- **Steps:** {header['step']:,}"] if isinstance(header.get("step"), int) else []
    lines += ["", "```yaml", yaml.safe_dump(dict(recipe), sort_keys=False).strip(), "```"] if recipe else []
    lines += ["", "## Evaluation", ""]
    lines += [f"- {key.removeprefix('validation_')} (validation): {value}" for key, value in measured.items()]
    lines += [] if measured else ["Not measured here; `gesso evaluate` measures by the protocol of the task."]
    lines += ["", "## Files", "", "| file | bytes | SHA-256 |", "|---|---:|---|"]
    for path in files:
        lines.append(f"| {path.name} | {path.stat().st_size:,} | `{hashlib.sha256(path.read_bytes()).hexdigest()}` |")
    return "\n".join(lines)


def how_to_start(network: Backbone, file: Path) -> list[str]:
    """Lines of Python that restore a photo with an exported file."""
    kind, name = file.suffix.lower(), file.name
    target = network.options.get("target")  # of a class of the user's
    if kind in (".onnx", ".pt2"):
        return [*_start_of_graph(kind, name), *_padded(network, kind)]
    if target is not None and kind != ".safetensors":  # its plain state, which its own code loads
        home, thing = str(target).split(":")
        arguments = ", ".join(f"{key}={value!r}" for key, value in (network.options.get("arguments") or {}).items())
        load = f'net.load_state_dict(torch.load("{name}", weights_only=True))'
        before = ["import gesso", "import torch", "", f"from {home} import {thing}", "", f"net = {thing}({arguments})"]
        made = [*before, load, "restorer = gesso.Restorer(gesso.wrap(net))"]
    else:
        facts = "" if target is None else f', target="{target}"'
        made = ["import gesso", "", f'restorer = gesso.Restorer.load("{name}"{facts})']
    return [*made, 'image = gesso.read_image("photo.png")', 'gesso.write_image("restored.png", restorer(image))']


def _start_of_graph(kind: str, name: str) -> list[str]:
    runtime = {".pt2": ["import torch"], ".onnx": ["import onnxruntime", "import torch"]}[kind]
    opened = {
        ".pt2": f'program = torch.export.load("{name}").module()',
        ".onnx": f'session = onnxruntime.InferenceSession("{name}")',
    }[kind]
    return ["import gesso", *runtime, "from gesso.functional.padding import pad", "", opened]


def _padded(network: Backbone, kind: str) -> list[str]:
    """Restores a photo by a graph, which takes sides that are multiples, and of some networks squares alone."""
    multiple, scale = network.size_multiple, network.scale
    sides = [f"right, below = -width % {multiple}, -height % {multiple}"]
    if network.needs_squares:
        side = "side = max(height, width)"
        sides = [side, f"side += -side % {multiple}", "right, below = side - width, side - height"]
    run = {
        ".pt2": "restored = program(padded)",
        ".onnx": "restored = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: padded.numpy()})[0])",
    }[kind]
    return [
        'image = gesso.read_image("photo.png")[None]  # (1, C, H, W) in [0, 1]',
        "height, width = image.shape[-2:]",
        *sides,
        f'padded = pad(image, 0, right, 0, below, "{network.pad_mode}")',
        run,
        f'gesso.write_image("restored.png", restored[0, :, : {scale} * height, : {scale} * width].clamp(0, 1))',
    ]

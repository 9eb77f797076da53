"""Before and after: the pictures of one image, and maps of their errors, as data URIs small enough for a page."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from gesso.functional.color import as_rgb

MOST_CHARACTERS = 3_600_000  # of all pictures together, so that a page stays under 5 MB
SIZES = [(1200, 90), (1024, 84), (800, 80), (640, 76), (512, 72), (400, 66), (300, 60), (200, 50)]  # side, quality
FULL_ERROR, FULL_GAIN = 0.2, 0.1  # differences in [0, 1] that take the last colour of a map
DARK_TO_LIGHT = np.array([[12, 12, 16], [74, 38, 88], [176, 70, 62], [240, 160, 70], [255, 246, 214]]) / 255
WORSE_TO_BETTER = np.array([[184, 84, 40], [226, 196, 174], [246, 243, 236], [170, 190, 222], [42, 82, 150]]) / 255


@dataclass(frozen=True)
class Layer:
    """One of the pictures that a viewer can show on either side: its key, its label, and its data URI."""

    key: str
    label: str
    uri: str


@dataclass(frozen=True)
class Role:
    """Why an image is shown when a start is looked at.

    Attributes:
        start: which start.
        title: what the image is among those of the start: "Largest gain".
        note: its scores.
        place: 0 for the image that comes first.
    """

    start: str
    title: str
    note: str
    place: int


@dataclass(frozen=True)
class Subject:
    """An image to make a viewer of: its name, its pictures (C, H, W) by kind, and for which starts it is shown."""

    image: str
    pictures: Mapping[str, Tensor]
    roles: Sequence[Role]


@dataclass(frozen=True)
class Viewer:
    """A slider between two pictures of one image.

    Attributes:
        image: its name.
        width: of the pictures in the page, in pixels.
        height: likewise.
        layers: what can be shown; at first the reference on the left, the start that is looked at on the right.
        roles: for which starts the image is shown.
    """

    image: str
    width: int
    height: int
    layers: Sequence[Layer]
    roles: Sequence[Role]

    def role(self, start: str) -> Role | None:
        """Its role for a start, if it has one."""
        return next((role for role in self.roles if role.start == start), None)

    def place(self, key: str) -> int:
        """Which of the layers has this key."""
        return [layer.key for layer in self.layers].index(key)


def make_viewers(subjects: Sequence[Subject], labels: Mapping[str, str]) -> list[Viewer]:
    """Viewers of all subjects in the best quality in which they fit a page together.

    Args:
        subjects: their pictures are "input", "truth" and starts; all of one size within a subject.
        labels: what starts are called, the reference first.
    """
    pictures = [with_maps(subject, labels) for subject in subjects]
    viewers: list[Viewer] = []
    for side, quality in SIZES:
        viewers = [
            Viewer(
                subject.image, *shrunk_size(subject.pictures["truth"], side),
                [Layer(key, label, data_uri(picture, side, quality)) for key, (label, picture) in layers.items()],
                subject.roles,
            )
            for subject, layers in zip(subjects, pictures, strict=True)
        ]  # fmt: skip
        if sum(len(layer.uri) for viewer in viewers for layer in viewer.layers) <= MOST_CHARACTERS:
            break
    return viewers


def with_maps(subject: Subject, labels: Mapping[str, str]) -> dict[str, tuple[str, Tensor]]:
    """Pictures by key, with their labels, in the order of the choice, and maps of the errors of the reference and of
    the starts for which the image is shown.
    """
    pictures, truth = subject.pictures, subject.pictures["truth"]
    starts = {start: label for start, label in labels.items() if start in pictures}
    reference = next(iter(labels))
    shown = {start: starts[start] for start in (reference, *(role.start for role in subject.roles)) if start in starts}
    layers = {"input": ("input", pictures["input"])}
    layers |= {start: (label, pictures[start]) for start, label in starts.items()}
    layers["truth"] = ("ground truth", truth)
    for start, label in shown.items():
        layers[f"error of {start}"] = (f"error of {label}", error_map(pictures[start], truth))
    for start, label in shown.items():
        if start != reference and reference in pictures:
            key, name = f"{start} against {reference}", f"{label} closer (blue), farther (orange)"
            layers[key] = (name, gain_map(pictures[start], pictures[reference], truth))
    return layers


def error_map(restored: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute error over channels as a picture (3, H, W), black for none to white for `FULL_ERROR` and more."""
    return coloured((restored - truth).abs().mean(0) / FULL_ERROR, DARK_TO_LIGHT)


def gain_map(restored: Tensor, other: Tensor, truth: Tensor) -> Tensor:
    """Where `restored` is closer to the truth than `other` as a picture (3, H, W), averaged over 5 x 5 pixels."""
    gain = (other - truth).abs().mean(0) - (restored - truth).abs().mean(0)
    smooth = F.avg_pool2d(gain[None, None], 5, stride=1, padding=2, count_include_pad=False)[0, 0]
    return coloured(0.5 + smooth / FULL_GAIN / 2, WORSE_TO_BETTER)


def coloured(values: Tensor, colours: np.ndarray) -> Tensor:
    """Values (H, W) in [0, 1] as a picture (3, H, W): colours between those given, evenly spaced."""
    places = np.linspace(0, 1, len(colours))
    return values.new_tensor(np.stack([np.interp(values.numpy(), places, channel) for channel in colours.T]))


def shrunk_size(picture: Tensor, side: int) -> tuple[int, int]:
    """Width and height of a picture (C, H, W) whose longer side is at most `side`."""
    height, width = picture.shape[-2:]
    factor = min(1.0, side / max(height, width))
    return round(width * factor), round(height * factor)


def data_uri(picture: Tensor, side: int, quality: int) -> str:
    """A picture (C, H, W) as a WebP data URI in RGB, its longer side at most `side`."""
    import cv2

    pixels = np.ascontiguousarray(as_rgb(picture).clamp(0, 1).permute(1, 2, 0).flip(-1).numpy())
    small = cv2.resize(pixels, shrunk_size(picture, side), interpolation=cv2.INTER_AREA)
    stored = (small * 255).round().astype(np.uint8)
    return (
        "data:image/webp;base64,"
        + base64.b64encode(cv2.imencode(".webp", stored, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()).decode()
    )

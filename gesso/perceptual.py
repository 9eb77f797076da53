"""Perceptual metrics by name, out of libraries: LPIPS and DISTS of torchmetrics, and all of pyiqa, such as NIQE.

Their weights are files. Nothing is ever downloaded: a metric whose files are missing names them.
"""

import contextlib
import dataclasses
import io
import socket
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from gesso._discovery import UnknownNameError, suggest
from gesso.functional.color import as_rgb
from gesso.metrics import ALL_OF, Protocol

ALWAYS = ("psnr", "ssim")  # of the protocol of the task
OWN = ("lpips", "lpips_vgg", "dists")  # of torchmetrics, which brings all but the ImageNet network
INSTALL = "pip install 'gesso[perceptual]'"

Metric = Callable[[Tensor, Tensor], float]


class Perceptual:
    """Perceptual metrics of a restored image: `(restored, gt, protocol) -> {name: value}`.

    They see what the protocol compares (rounded to 8 bits, without its border), but always all colours; grey is shown
    in three channels. They are computed on the CPU, in float32.

    Args:
        metrics: functions of (restored, gt), each (1, 3, H, W) in [0, 1], by name.
        lower: names of those of which less is better.
    """

    def __init__(self, metrics: Mapping[str, Metric], lower: Collection[str] = OWN) -> None:
        self.metrics, self.lower_is_better = dict(metrics), frozenset(lower)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the metrics, in their order."""
        return tuple(self.metrics)

    def __call__(self, restored: Tensor, gt: Tensor, protocol: Protocol) -> dict[str, float]:
        """The values for one image (C, H, W) and its ground truth.

        Raises:
            ValueError: for images that a metric cannot take, as those that are too small.
        """
        every = dataclasses.replace(protocol, channel=ALL_OF.get(gt.shape[-3], "rgb"), align=False)
        ((one, other),) = every.prepare(restored, gt)
        pair = [as_rgb(torch.from_numpy(image / 255).float())[None] for image in (one, other)]
        values = {}
        for name, metric in self.metrics.items():
            try:
                with torch.no_grad(), without_connections():
                    values[name] = metric(*pair)
            except (RuntimeError, AssertionError, IndexError) as error:
                raise ValueError(f"{name}: an image of {gt.shape[-1]}x{gt.shape[-2]} pixels: {error}") from error
        return values


def open_metrics(names: str | list[str] | None, weights: str | Path | None = None) -> Perceptual | None:
    """The perceptual metrics among `names`; None if there are none but PSNR and SSIM.

    Args:
        names: separated by commas, or a list: "psnr" and "ssim", which are measured anyway, "lpips" (AlexNet),
            "lpips_vgg", "dists", and names of pyiqa such as "niqe".
        weights: folder of the files that the metrics need, under the names that they are published by; none: the folder
            where torch keeps such files.

    Raises:
        UnknownNameError: for an unknown name, with the nearest match.
        FileNotFoundError: if there is no such folder, or a file is missing in it; the message names it.
        ValueError: if a package is not installed, or a metric cannot be built of the files.
    """
    listed = names.split(",") if isinstance(names, str) else names or []
    asked = list(dict.fromkeys(name.strip().lower() for name in listed if name.strip()))
    if weights is not None and not Path(weights).is_dir():
        raise FileNotFoundError(f"metric_weights: {weights}: expected a folder of weights, there is none")
    others = [name for name in asked if name not in ALWAYS]
    metrics = {name: open_metric(name, None if weights is None else Path(weights)) for name in others}
    lower = [name for name, (_, lower_is_better) in metrics.items() if lower_is_better]
    return Perceptual({name: metric for name, (metric, _) in metrics.items()}, lower) if metrics else None


def open_metric(name: str, weights: Path | None) -> tuple[Metric, bool]:
    """One metric by name, see `open_metrics`, and whether less of it is better."""
    try:
        with without_downloads(name, weights):
            return (of_torchmetrics(name), True) if name in OWN else of_pyiqa(name)
    except ImportError as error:
        known = f"; {told}" if name not in OWN and (told := suggest(name, (*ALWAYS, *OWN))) else ""
        raise ValueError(f"metrics: {name} needs a package that is not installed: {error}; {INSTALL}{known}") from None
    except (FileNotFoundError, UnknownNameError):
        raise
    except Exception as error:
        raise ValueError(f"metrics: {name} cannot be built without a download ({error})") from error


def of_torchmetrics(name: str) -> Metric:
    """LPIPS or DISTS."""
    check_installed("torchvision")
    if name == "dists":
        from torchmetrics.functional.image.dists import DISTSNetwork

        network = DISTSNetwork().eval()  # torchmetrics' own metric would build it anew for each image
        return lambda restored, gt: float(network(restored, gt))
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    net = "vgg" if name == "lpips_vgg" else "alex"
    metric = LearnedPerceptualImagePatchSimilarity(net_type=net, normalize=True)

    def measure(restored: Tensor, gt: Tensor) -> float:
        value = metric(restored, gt)
        metric.reset()
        return float(value)

    return measure


def of_pyiqa(name: str) -> tuple[Metric, bool]:
    """A metric of pyiqa, with or without reference, and whether less of it is better.

    Raises:
        UnknownNameError: for a name that it does not have.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        import pyiqa  # pyright: ignore[reportMissingImports]

        known = pyiqa.list_models()
        if name not in known:
            raise UnknownNameError(f"metrics: unknown name {name!r}; {suggest(name, {*ALWAYS, *OWN, *known})}")
        metric = pyiqa.create_metric(name, device=torch.device("cpu"))

    def measure(restored: Tensor, gt: Tensor) -> float:
        return float(metric(restored) if metric.metric_mode == "NR" else metric(restored, gt))

    return measure, bool(metric.lower_better)


def check_installed(package: str) -> None:
    """Imports a package whose absence its user would explain in other words.

    Raises:
        ImportError: if it is not installed.
    """
    __import__(package)


@contextlib.contextmanager
def without_downloads(name: str, weights: Path | None) -> Iterator[None]:
    """Has torch look for weights in a folder, and refuses every download, whoever asks for it."""

    def refuse(url: str, place: str, *_: Any, **__: Any) -> None:
        folder = weights or Path(place).parent
        raise FileNotFoundError(
            f"metrics: {name}: its file {Path(place).name} is not in {folder}; nothing is downloaded. "
            f"It is published as {url}; say where it lies by --metric_weights FOLDER"
        )

    with contextlib.ExitStack() as stack:
        stack.enter_context(patch.object(torch.hub, "download_url_to_file", refuse))
        stack.enter_context(without_connections())
        hub = Path(torch.hub.get_dir())
        if weights is not None:
            hub = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            for place in ("checkpoints", "pyiqa"):
                (hub / place).symlink_to(weights.resolve())
            before = torch.hub.get_dir()
            torch.hub.set_dir(hub)
            stack.callback(torch.hub.set_dir, before)
        with contextlib.suppress(ImportError), contextlib.redirect_stdout(io.StringIO()):
            import pyiqa.utils.download_util as files  # pyright: ignore[reportMissingImports]

            stack.enter_context(patch.object(files, "download_url_to_file", refuse))
            stack.enter_context(patch.object(files, "DEFAULT_CACHE_DIR", str(hub / "pyiqa")))
        yield


@contextlib.contextmanager
def without_connections() -> Iterator[None]:
    """Refuses every connection, whoever asks for it."""

    def refuse(*_: Any) -> None:
        raise OSError("connections are refused: weights come from files")

    with patch.object(socket.socket, "connect", refuse):
        yield

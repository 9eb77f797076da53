"""A network as one graph for batches and images of any size, which `torch.export` captures: for `.pt2` and ONNX."""

import copy
import io
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from gesso.backbones import Backbone
from gesso.checkpoint.files import CheckpointError
from gesso.data.io import atomic_path
from gesso.functional.windows import share_windows

TOLERANCE, FARTHER = 1e-4, 8
SHAPES = ((2, 2, 3), (1, 3, 2), (1, 1, 4), (2, 1, 1))
"""Batch, and sides over the multiple that they have (and the least): the first is traced, the others are compared.

What a graph holds of the size that was traced shows at any other, and IPT takes three seconds a patch.
"""
LARGE_SHAPES, LARGE = ((2, 2, 3), (1, 1, 2)), 128
"""The same where sides are multiples of more than so many pixels, as of IPT for deblurring: one that differs in all."""
SQUARES = ((2, 2, 2), (1, 3, 3), (2, 1, 1))
COARSER = (8, 16, 32, 64)
"""What sides may have to be multiples of where a module of the user's pads or rounds them within."""
LEAST = 4
IS_OLD = tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 13)
"""Whether PyTorch is older than that with which every network here is known to export; with 2.6 some do not to ONNX."""
FACTS = "facts.json"


class Seam(nn.Module):
    """`reconstruct(features(image))`: the network without padding and cropping, which depend on the image's size."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, image: Tensor) -> Tensor:
        """The unclamped output for an image whose sides are multiples of `size_multiple`."""
        if torch.compiler.is_compiling():
            image = in_whole_blocks(image, self.backbone.size_multiple)
        with share_windows():
            return self.backbone.reconstruct(self.backbone.features(image)[-1], image)


def in_whole_blocks(image: Tensor, multiple: int) -> Tensor:
    """An image (B, C, H, W) whose sides are multiples already, cut to them: all of it.

    From here on torch.export knows H as `multiple * blocks` and H / 8 as `16 * blocks`, without a division, of which it
    would prove at every operation what it is a multiple of: of Uformer-B for more than five minutes. Only these two
    axes are cut: of a slice of the others, PyTorch 2.6 asks how many images there may be.
    """
    rows, columns = (side // multiple * multiple for side in image.shape[2:])
    return image.narrow(2, 0, rows).narrow(3, 0, columns)


class Captured(NamedTuple):
    """A network that has been captured.

    Attributes:
        program: what `torch.export` made of it.
        network: what was captured, to compare with.
        facts: what whoever runs it has to know: `size_multiple` of the sides, `least_side`, `pad_mode` to reach both,
            `scale`, and `square` where sides have to be equal.
        shapes: of images to compare on.
    """

    program: ExportedProgram
    network: nn.Module
    facts: dict[str, Any]
    shapes: list[tuple[int, int, int, int]]

    def images(self) -> list[Tensor]:
        """Random images of the shapes to compare on."""
        return [torch.rand(shape, generator=torch.Generator().manual_seed(0)) for shape in self.shapes]


def capture(backbone: Backbone, to: str, least: int = 1) -> Captured:
    """The graph of a network in float32, for any batch and any sides that are multiples of its `size_multiple`.

    A module of the user's that is wrapped is captured itself. Where it pads or rounds sides within, these may have to
    be multiples of more than it needs otherwise; `size_multiple` then says so.

    Args:
        backbone: the network, which stays as it is.
        to: the format that it is for, in errors.
        least: how often the multiple goes into a side at least.

    Raises:
        CheckpointError: if the network cannot be captured for any size.
    """
    module = backbone.plain_module()
    network = copy.deepcopy(Seam(backbone) if module is None else module).float().cpu().eval()
    finest, reasons = backbone.size_multiple, []
    coarser = [] if module is None else [math.lcm(finest, more) for more in COARSER if more % finest or more > finest]
    for multiple in (finest, *coarser):
        try:
            return capture_for(backbone, network, multiple, least)
        except Exception as error:  # torch.export has no class of errors
            reasons.append(error)
    raise no_graph(backbone, to, reasons[0]) from reasons[0]


def no_graph(backbone: Backbone, to: str, error: Exception) -> CheckpointError:
    """What to say where PyTorch makes no graph of a network for images of any size."""
    reason = str(error.__cause__ or error).strip().splitlines()[0][:300]
    newer = f"; it may with a PyTorch newer than {torch.__version__}" if IS_OLD else ""
    newer += "; take format onnx" if to == "pt2" else ""
    return CheckpointError(
        f"{type(backbone).__name__} does not export to {to} for images of any size{newer}; PyTorch says: {reason}"
    )


def capture_for(backbone: Backbone, network: nn.Module, multiple: int, least: int) -> Captured:
    """The graph for sides that are multiples of so much.

    Raises:
        Exception: whatever `torch.export` and the network raise.
    """
    is_square = backbone.needs_squares
    more, channels = least - 1, backbone.in_channels
    blocks = SQUARES if is_square else LARGE_SHAPES if multiple > LARGE else SHAPES
    shapes = [
        (batch, channels, (height + more) * multiple, (width + more) * multiple) for batch, height, width in blocks
    ]
    facts = {
        "size_multiple": multiple,
        "least_side": least * multiple,
        "pad_mode": backbone.pad_mode,
        "scale": backbone.scale,
    }
    facts |= {"square": True} if is_square else {}
    batch, (height, width) = Dim("batch", min=1), (Dim(axis, min=least) for axis in ("height", "width"))
    sides = {0: batch, 2: multiple * height, 3: multiple * (height if is_square else width)}
    image = torch.rand(shapes[0], generator=torch.Generator().manual_seed(0))
    # The cache costs Uformer half of its time: to look a symbolic shape up takes longer than to compute it. PyTorch has
    # no public switch for it.
    with torch.no_grad(), torch._dynamo.config.patch(fake_tensor_cache_enabled=False):
        program = torch.export.export(network, (image,), dynamic_shapes=(sides,), strict=False)
    return Captured(program, network, facts, shapes[1:])


def save_program(backbone: Backbone, path: Path) -> None:
    """Writes a network as `.pt2`, which `torch.export.load(path).module()` makes a module of without gesso.

    Sides are `LEAST` times `size_multiple` at least: for smaller feature maps torch.export keeps the program from
    running, as a network may compute them in another form. How to pad is in its extra file `facts.json`, see
    `Captured.facts`.

    Raises:
        CheckpointError: if the network does not export for any size, or the file computes something else.
    """
    graph = capture(backbone, "pt2", least=LEAST)
    content = io.BytesIO()
    torch.export.save(graph.program, content, extra_files={FACTS: json.dumps(graph.facts)})
    with atomic_path(path, RuntimeError) as temporary:
        temporary.write_bytes(content.getbuffer())
        again = torch.export.load(io.BytesIO(temporary.read_bytes())).module()
        for image in graph.images():
            with torch.no_grad():
                try:
                    seen = again(image)
                except AssertionError as error:  # a guard: of windows, PyTorch concludes more than holds for any size
                    raise no_graph(backbone, "pt2", error) from error
                check_equal(seen, graph.network(image), f"{type(backbone).__name__} as pt2", graph.network, image)


def check_equal(seen: Tensor, expected: Tensor, what: str, network: nn.Module, image: Tensor) -> None:
    """Checks that a file computes what its network does.

    Networks whose sums grow, such as IPT with its 24 layers, are not exact to `TOLERANCE` in float32 themselves: there
    the file may be as far from what float64 gives as PyTorch is, times `FARTHER`.

    Raises:
        CheckpointError: if an output differs by more.
    """
    difference = (seen - expected).abs().max().item()
    if difference <= TOLERANCE:
        return
    with torch.no_grad():
        exact = copy.deepcopy(network).double()(image.double())
    rounding, error = ((output - exact).abs().max().item() for output in (expected, seen))
    if not error <= FARTHER * rounding:
        raise CheckpointError(f"{what} is {difference:.1e} off for images {tuple(image.shape)}; not kept")

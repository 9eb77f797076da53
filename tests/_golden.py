"""Golden numbers of the official networks and methods: weights by rule, inputs by seed, and the checks against them.

`tests/golden/` holds numbers only. Weights are not stored: `fill` makes them from the official state-dict names, so a
case needs nothing but the same names, shapes and forward computation.

| file | what |
|---|---|
| `networks.json` | small configurations of Restormer, Uformer, NAFNet, Baseline, SwinIR, PromptIR, IPT |
| `methods/<method>.json` | masks, losses, decoders, classifiers, the refiner, schedules, resizing |
| `metrics.json` | image pairs and their PSNR and SSIM |
| `statedicts.tsv.gz` | key, shape, dtype and kind of every state-dict entry of 53 published configurations |

A case has `id`, `args` (the official constructor's keywords), `inputs`, `state` (what the filled weights sum to),
`out` (name -> shape and, per precision "f32" and "f64", mean, std, l2 and 32 samples or all values), `objective` and
`grad_l2`. A test reads:

    @pytest.mark.parametrize("case", cases("networks", network="Restormer"), ids=case_id)
    def test_equals_the_official_network(case):
        net = fill(Restormer(**case["args"])).double()
        check_state(net, case)
        x = make_inputs(case, torch.float64, requires_grad=True)["x"]
        restored = net(x)
        check_output(restored, case["out"]["out"])
        check_gradients(case, {"x": x}, {"out": restored})
"""

import gzip
import json
import math
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from gesso.backbones import Backbone, create_backbone

GOLDEN = Path(__file__).parent / "golden"
KEPT = ("relative_position_index", "attn_mask", "position_ids", "weight_noise", "num_batches_tracked")
SMALL = ("relative_position_bias_table", "absolute_pos_embed", "prompt_param")
SMALL += ("modulator.weight", "query_embed.weight", "pe.weight")
TOLERANCE = {  # relative to the output's std: samples and mean; relative: std and l2; relative: gradient norms
    "f32": {"samples": 5e-5, "statistics": 2e-5, "gradients": 1e-3, "scalar": 1e-5},
    "f64": {"samples": 1e-6, "statistics": 1e-6, "gradients": 1e-6, "scalar": 1e-7},
}

Case = dict[str, Any]
Module = TypeVar("Module", bound=nn.Module)


# --------------------------------------------------------------------------------------------------- loading


def cases(file: str, **match: Any) -> list[Case]:
    """The cases of `networks`, or of one method (`ifp`, `mfm`, `degae`, `dcpt`, `ipt`, `ptg_rm`, ...), that match.

    A keyword is a field of the case; its value is what the field must equal, or a list of what it may equal.
    """
    path = next(path for path in (GOLDEN / f"{file}.json", GOLDEN / "methods" / f"{file}.json") if path.exists())
    found = [case for case in json.loads(path.read_text()) if all(_matches(case, *item) for item in match.items())]
    assert found, f"no case in {path.name} matches {match}"
    return found


def _matches(case: Case, field: str, wanted: Any) -> bool:
    return case.get(field) in (wanted if isinstance(wanted, list) else [wanted])


def case(file: str, id: str) -> Case:
    """The one case with this `id`."""
    return cases(file, id=id)[0]


def case_id(case: Case) -> str:
    """The name of a case, for `pytest.mark.parametrize(..., ids=case_id)`."""
    return case["id"]


def manifest(name: str) -> dict[str, tuple[tuple[int, ...], torch.dtype, str]]:
    """Every entry of an official state dict by key: shape, dtype, and "P" for a parameter or "B" for a buffer."""
    entries: dict[str, tuple[tuple[int, ...], torch.dtype, str]] = {}
    for line in _manifests()[name]:
        key, shape, dtype, kind = line.split("\t")
        entries[key] = tuple(int(side) for side in shape.split("x") if side), getattr(torch, dtype), kind
    return entries


def manifest_names(prefix: str = "") -> list[str]:
    """Names of the official configurations that `manifest` knows, those that begin with `prefix`."""
    return [name for name in _manifests() if name.startswith(prefix)]


def _manifests() -> dict[str, list[str]]:
    text = gzip.decompress((GOLDEN / "statedicts.tsv.gz").read_bytes()).decode()
    blocks = [block.splitlines() for block in text.removeprefix("# ").split("\n# ")]
    return {head.split(" ")[0]: lines for head, *lines in blocks}


# ------------------------------------------------------------------------------------------- weights and inputs


def normal(seed: int, shape: Iterable[int]) -> np.ndarray:
    """Standard normal float64 numbers of a PCG64 stream."""
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(tuple(shape))


def fill_value(key: str, shape: Iterable[int]) -> Tensor:
    """The float32 weights that the rule gives to an official state-dict entry.

    Example:
        >>> fill_value("demo.norm.weight", (4,))
        tensor([1.0318, 0.9383, 1.0529, 1.1711])
    """
    shape = tuple(shape)
    v = normal(zlib.crc32(key.encode()), shape)
    last, last2 = key.split(".")[-1], ".".join(key.split(".")[-2:])
    if last == "temperature":
        v = 1 + 0.1 * v
    elif last == "running_var":
        v = 1 + 0.1 * abs(v)
    elif last in ("beta", "gamma"):
        v = 0.3 * v
    elif last in SMALL or last2 in SMALL:
        v = 0.1 * v
    elif len(shape) >= 2:
        gain = {"project_out.weight": 0.5, "out_proj.weight": 0.25, "linear2.weight": 0.25}.get(last2, 1.0)
        v = v * (gain / math.sqrt(math.prod(shape[1:])))
    else:
        v = 1 + 0.1 * v if key.endswith("weight") else 0.1 * v
    return torch.from_numpy(v.astype(np.float32))


def is_filled(key: str) -> bool:
    """Whether the rule fills this official entry; the others keep what the network constructs."""
    return key.split(".")[-1] not in KEPT and key.split(".")[0] not in ("sub_mean", "add_mean")


def official_state(module: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    """The module's state under the official names, `prefix` before each."""
    state = module.to_official() if isinstance(module, Backbone) else module.state_dict()
    return {prefix + key: value for key, value in state.items()}


def fill(module: Module, prefix: str = "") -> Module:
    """The module itself in `eval()` mode, filled by the rule; `prefix` stands before its official names in the case."""
    filled = {
        key.removeprefix(prefix): fill_value(key, value.shape) if is_filled(key) else value
        for key, value in official_state(module, prefix).items()
    }
    module.load_state_dict(module.from_official(filled) if isinstance(module, Backbone) else filled)
    return module.eval()


def make_inputs(case: Case, dtype: torch.dtype = torch.float32, *, requires_grad: bool = False) -> dict[str, Tensor]:
    """The inputs of a case by name; gradients are asked for where the case has their norms."""
    differentiated = case.get("grad_l2", {}).get("f32", {}) if requires_grad else {}
    return {
        entry["name"]: make_input(entry, dtype).requires_grad_(entry["name"] in differentiated)
        for entry in case["inputs"]
    }


def make_input(entry: Mapping[str, Any], dtype: torch.dtype = torch.float32) -> Tensor:
    """One input: `entry` is an item of `case["inputs"]`, or a case with a single input."""
    if "inputs" in entry:
        (entry,) = entry["inputs"]
    generator = np.random.Generator(np.random.PCG64(entry["seed"]))
    draw = generator.standard_normal if entry.get("dist") == "normal" else generator.random
    x = draw(entry["shape"]).astype(np.float32)
    if "affine" in entry:
        a, b = (np.float32(number) for number in entry["affine"])
        x = x * a + b
    if entry.get("unit_rows"):
        wide = x.astype(np.float64)
        x = (wide / np.linalg.norm(wide, axis=-1, keepdims=True)).astype(np.float32)
    return torch.from_numpy(x).to(dtype)


# ----------------------------------------------------------------------------------------------------- checks


def check_state(module_or_state: nn.Module | Mapping[str, Tensor], case: Case) -> None:
    """Names, shapes and fill agree with the case. Check this first: what then differs lies in the forward."""
    state = official_state(module_or_state) if isinstance(module_or_state, nn.Module) else module_or_state
    filled = {key: value.detach().double() for key, value in state.items() if is_filled(key)}
    lines = sorted(f"{key} {'x'.join(str(side) for side in value.shape)}" for key, value in filled.items())
    expected = case["state"]
    if "manifest" in expected:
        assert lines == expected["manifest"]
    assert len(filled) == expected["keys"]
    assert sum(value.numel() for value in filled.values()) == expected["elements"]
    assert zlib.crc32("\n".join(lines).encode()) == expected["manifest_crc32"], f"names or shapes differ: {lines}"
    total = sum(value.sum().item() for value in filled.values())
    norm = math.sqrt(sum(value.square().sum().item() for value in filled.values()))
    assert math.isclose(total, expected["sum"], rel_tol=1e-6, abs_tol=1e-6 * norm)
    assert math.isclose(norm, expected["l2"], rel_tol=1e-6)


def check_manifest(state: Mapping[str, Tensor], name: str) -> None:
    """An official state has exactly the names, shapes and dtypes of a published configuration."""
    expected = {key: (shape, dtype) for key, (shape, dtype, _) in manifest(name).items()}
    seen = {key: (tuple(value.shape), value.dtype) for key, value in state.items()}
    assert seen.keys() == expected.keys(), (
        f"missing {sorted(expected.keys() - seen.keys())}, unexpected {sorted(seen.keys() - expected.keys())}"
    )
    wrong = {key: (seen[key], expected[key]) for key in seen if seen[key] != expected[key]}
    assert not wrong, f"(ours, official) differ: {wrong}"


def check_official(name: str, variant: str, parameters: int, *, in_order: bool = True, **otherwise: Any) -> None:
    """The names and shapes of an official file say which network it is of, and the file comes back whole.

    Args:
        name: of a published configuration, see `manifest_names`.
        variant: ours, that the file shall be recognised as.
        parameters: how many that has.
        in_order: whether the names come back in their order, too.
        otherwise: options of the recognised network that the variant has otherwise.
    """
    official = {
        key: (torch.arange(math.prod(shape)) % 251 + number).view(shape).to(dtype)
        for number, (key, (shape, dtype, _)) in enumerate(manifest(name).items())
    }
    with torch.device("meta"):
        ours = create_backbone(variant)
        net = type(ours)(**(ours.recognise({key: value.to("meta") for key, value in official.items()}) or {}))
    assert as_read(net.options) == as_read(ours.options | otherwise)
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters
    net.load_state_dict(net.from_official(official), strict=True, assign=True)
    returned = net.to_official()
    check_manifest(returned, name)
    assert list(returned) == list(official) or not in_order
    for key, value in official.items():
        assert key.endswith(KEPT) or torch.equal(returned[key], value), key


def as_read(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as a file has them, tuples as lists."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}


def check_output(tensor: Tensor, expected: Mapping[str, Any], *, slack: float = 1.0) -> None:
    """A tensor equals one entry of `case["out"]`, by the tolerance of its dtype times `slack`."""
    precision = precision_of(tensor)
    tolerance = {name: slack * value for name, value in TOLERANCE[precision].items()}
    numbers = expected[precision]
    assert list(tensor.shape) == expected["shape"]
    flat = tensor.detach().double().flatten()
    assert torch.isfinite(flat).all()
    if "std" not in numbers:
        torch.testing.assert_close(flat, _double(numbers["values"]), rtol=tolerance["scalar"], atol=1e-12)
        return
    scale = numbers["std"] or abs(numbers["mean"])  # a constant map has no std to be measured by
    if "values" in numbers:
        torch.testing.assert_close(flat, _double(numbers["values"]), rtol=0, atol=tolerance["samples"] * scale)
    if "samples" in numbers:
        seen = flat[torch.from_numpy(np.random.Generator(np.random.PCG64(7)).integers(0, flat.numel(), 32))]
        torch.testing.assert_close(seen, _double(numbers["samples"]), rtol=0, atol=tolerance["samples"] * scale)
    assert math.isclose(flat.mean().item(), numbers["mean"], abs_tol=tolerance["statistics"] * scale)
    assert math.isclose(
        flat.std(correction=0).item(), numbers["std"], rel_tol=tolerance["statistics"], abs_tol=1e-7 * scale
    )
    assert math.isclose(flat.norm().item(), numbers["l2"], rel_tol=tolerance["statistics"])


def objective(case: Case, outputs: Mapping[str, Tensor]) -> Tensor:
    """The scalar that the case differentiates: the output called loss, or the sum of mean squares of some outputs."""
    if case["objective"] == "loss":
        return outputs["loss"]
    names = case["objective"].removeprefix("mean square of ").split(" + ")
    return sum((outputs[name].square().mean() for name in names), torch.zeros(()))


def check_gradients(
    case: Case, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor], *, slack: float = 1.0
) -> None:
    """Gradients of the objective equal the recorded ones; `inputs` are made with `requires_grad=True`."""
    scalar = objective(case, outputs)
    precision = precision_of(scalar)
    expected = case["grad_l2"][precision]
    gradients = torch.autograd.grad(scalar, [inputs[name] for name in expected])
    for (name, norm), gradient in zip(expected.items(), gradients, strict=True):
        seen = gradient.double().norm().item()
        assert math.isclose(seen, norm, rel_tol=slack * TOLERANCE[precision]["gradients"]), (name, seen, norm)
        if name in case.get("grad", {}):
            check_output(gradient, case["grad"][name], slack=slack)


def check_mask(mask: Tensor, expected: Mapping[str, Any]) -> None:
    """A binary mask (H, W), 1 = kept, equals `case["out"]` of a mask case, exactly."""
    pixels = mask.to(torch.uint8).cpu().numpy()
    if "rows" in expected:
        assert ["".join(str(pixel) for pixel in row) for row in pixels] == expected["rows"]
    assert int((pixels == 0).sum()) == expected["zeros"]
    assert zlib.crc32(pixels.tobytes()) == expected["crc32_uint8"]


def precision_of(tensor: Tensor) -> str:
    """Which numbers a tensor is compared with: "f64" or "f32"."""
    return "f64" if tensor.dtype == torch.float64 else "f32"


def _double(numbers: list[float]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


# ---------------------------------------------------------------------------------------------------- metrics


def metric_pairs() -> list[dict[str, Any]]:
    """Image pairs with their PSNR and SSIM: `A`, `B` (H, W, 3) uint8 RGB, and `basicsr` and `independent` values."""
    pairs = json.loads((GOLDEN / "metrics.json").read_text())["pairs"]
    return [pair | _images(pair["how"]) for pair in pairs]


def luma_rows() -> list[dict[str, Any]]:
    """RGB triples and their Y: `rgb`, `y_exact`, `y_rounded`."""
    return json.loads((GOLDEN / "metrics.json").read_text())["y_rows"]


def _images(how: str) -> dict[str, np.ndarray]:
    """Runs a recipe such as `A=grad1(48,80); B=clip(A+5)`."""
    names: dict[str, Any] = {
        "noise": _noise,
        "grad1": _grad1,
        "grad2": _grad2,
        "clip": lambda image: image.clip(0, 255),
    }
    exec(how, names)
    return {name: names[name].astype(np.uint8) for name in ("A", "B")}


def _noise(seed: int, height: int, width: int) -> np.ndarray:
    x = make_input({"shape": (1, 3, height, width), "seed": seed})
    return np.rint(x[0].permute(1, 2, 0).numpy().astype(np.float64) * 255).astype(int)


def _grad1(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([255 * x // (width - 1), 255 * y // (height - 1), 255 * (x + y) // (width + height - 2)], axis=-1)


def _grad2(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    red = 255 * x * y // ((width - 1) * (height - 1))
    green = 255 - 255 * x * x // ((width - 1) ** 2)
    blue = 255 * (height - 1 - y) * x // ((width - 1) * (height - 1))
    return np.stack([red, green, blue], axis=-1)

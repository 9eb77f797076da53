"""Where a network comes from: its recipe, the weights that it began with, the decoder that it was trained with."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gesso import _recipes
from gesso import checkpoint as checkpoints
from gesso._discovery import CODE, check_code
from gesso.backbones import OBJECT, Backbone, BackboneSpec, create_backbone, open_backbone, spell_backbone
from gesso.backbones._channels import for_channels
from gesso.checkpoint.files import with_defaults
from gesso.commands._finetune import start as starting_network
from gesso.data.generated import GeneratedImages
from gesso.formats import check_channels
from gesso.functional.mimetic import MIMETIC
from gesso.functional.random import seed_for
from gesso.pretext import Pretext, PretextSpec, create_pretext, pretext_class
from gesso.primed import is_primed, resolve_file
from gesso.report.console import say
from gesso.report.results import label

MADE_OF = ("backbone", "backbone_args", "pretext", "pretext_args")  # options of a run whose code is run again
MOST_NOISE = 8  # images of noise that a run was trained on and that are looked at


@dataclass(frozen=True)
class TrainedNetwork:
    """A network with what is known of its past.

    Attributes:
        label: what pictures call it.
        network: the network, set to evaluation.
        file: where it lies; None for a name or an object.
        recipe: options of the run that made it, from `config.yaml` beside it; {} where nothing is known.
        options: of a name, or what the file does not tell.
        method: class of the pretext that it was pre-trained by, if it is known.
        is_random: whether its weights are random ones, drawn for a name.
    """

    label: str
    network: Backbone
    file: Path | None = None
    recipe: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    method: type[Pretext] | None = None
    is_random: bool = False

    @property
    def seed(self) -> int | None:
        """The seed of its run, if it is known."""
        return self.recipe.get("seed")

    @property
    def saw_noise(self) -> bool:
        """Whether it is known to have been trained on nothing but noise."""
        if self.method is None or self.recipe.get("init"):
            return False
        return self.recipe.get("images", self.method.images) == "noise"


def open_trained(
    what: BackboneSpec | Path,
    options: dict[str, Any],
    seed: int | None = None,
    channels: int | None = None,
    *,
    pretext: PretextSpec | None = None,
    named: Collection[str] = (),
) -> TrainedNetwork:
    """The network that `what` says: a file, the folder of a run, a backbone by name or class, or a network itself.

    Args:
        what: which.
        options: of the network of a name, or what a file does not tell.
        seed: where the random weights of a name come from.
        channels: of the images that it will be shown; none: those of the images that it takes.
        pretext: what made the run of a file, where the record beside it does not tell.
        named: code of the user's own that the record may name, too.

    Raises:
        UnknownNameError: if it is none of these.
        ValueError: if it takes images that are not read from files.
        FileNotFoundError: if it looks like a file that does not exist.
    """
    path = resolve_file(what) if isinstance(what, str | Path) else None
    if path is not None and path.is_dir():
        path = path / "backbone.safetensors"
    if path is not None and (path.exists() or (path.suffix and not CODE.fullmatch(str(what)))):
        network = open_file(path, channels, **options)
        name = str(what) if is_primed(what) else label(str(path)).removesuffix("/backbone")
        recipe = read_recipe(path.parent, named)
        method = method_of(recipe.get("pretext") if pretext is None else pretext)
        return TrainedNetwork(name, network.eval(), path, recipe, options, method)
    torch.manual_seed(seed_for(seed or 0, "weights"))
    spec = str(what) if isinstance(what, Path) else what
    network = open_backbone(spec, options)
    if channels not in (None, network.in_channels):
        return open_trained(spec, options | {"image_channels": channels}, seed)
    check_channels(spell_backbone(spec), network.in_channels)
    if isinstance(spec, nn.Module):
        return TrainedNetwork(spell_backbone(spec), network.eval())
    return TrainedNetwork("random start", network.eval(), None, {}, options, is_random=True)


def method_of(pretext: PretextSpec | None) -> type[Pretext] | None:
    """The class of a pretext; None where there is none, or it was an object that no record holds."""
    if isinstance(pretext, str):
        return None if pretext.startswith(OBJECT) else pretext_class(pretext)
    return pretext if isinstance(pretext, type) else None


def open_file(path: str | Path, channels: int | None, **facts: Any) -> Backbone:
    """The network of a file, adapted to images with so many channels, which is said; None: as it is.

    Raises:
        ValueError: if it takes images that are not read from files.
        FileNotFoundError: if there is no such file.
    """
    found = checkpoints.recognise(path, **facts)
    if channels not in (None, found.network.in_channels):
        found = checkpoints.recognise(path, **facts, image_channels=channels)
    check_channels(path, found.network.in_channels)
    if found.adapted and found.adapted.names:
        say(f"{path}: {found}")
    return found.network


def read_recipe(folder: Path, named: Collection[str] = ()) -> dict[str, Any]:
    """Options of the training run in a folder; {} if there is none.

    Raises:
        ValueError: if the network or the pretext is code that the user has not `named`, or they are no options.
    """
    config = folder / "config.yaml"
    recipe = _recipes.read_recipe(config) if config.exists() else {}
    if not recipe.keys() >= {"backbone", "steps"}:
        return {}
    check_code({name: value for name, value in recipe.items() if name in MADE_OF}, config, named)
    return recipe


def random_start(origin: TrainedNetwork, seed: int) -> Backbone | None:
    """A network of the same kind with the random weights that a training run of this seed begins with.

    Where the run saw images with other channels than the network takes now, the weights are adapted as its own were.
    None for an object of a class that nothing says how to build.
    """
    recipe = origin.recipe
    torch.manual_seed(seed_for(seed, "weights"))
    if not recipe or str(recipe["backbone"]).startswith(OBJECT):
        try:
            return origin.network.twin(**as_created(origin.network)).eval()
        except ValueError:
            return None
    network = create_backbone(recipe["backbone"], **recipe.get("backbone_args", {}))
    if recipe.get("transfer") == "paper":
        network = starting_network(network, "random", "paper", keep_last=False)
    return for_channels(network, origin.network.in_channels).eval()


def as_created(network: Backbone) -> dict[str, Any]:
    """The options that a pretext changes when it puts feature channels in place of the image, at their default.

    Random numbers are drawn in the order in which a network makes its layers, so every layer counts.
    """
    if network.out_channels == network.in_channels:
        return {}
    created = with_defaults(type(network), {})
    changed = {name: created[name] for name in ("out_channels", "image_residual") if name in created}
    return changed | ({"out_channels": network.in_channels} if changed.get("out_channels") else {})


def beginning(origin: TrainedNetwork, seed: int) -> tuple[Backbone, str] | None:
    """The network as its run began, random weights or those of a file, and what that is in words; None if unknown."""
    network, init = random_start(origin, seed), str(origin.recipe.get("init", "random"))
    if network is None:
        return None
    known = "as config.yaml beside the file says" if origin.seed == seed else "assumed, nothing beside the file says it"
    words = f"random weights of seed {seed} ({known}), drawn again"
    if init == "random":
        return network, words
    if init == MIMETIC:
        network.draw_mimetic()
        return network, f"mimetic {words}"
    if not Path(init).is_file():
        return network, f"{words}; the run began with {init}, which is not there any more"
    checkpoints.load_features(network, init, keep_head="pretext" in origin.recipe)
    return network, f"the weights that the run began with, {init}"


# ------------------------------------------------------------------------------------------------ its own decoder


@dataclass(frozen=True)
class OwnOutput:
    """Images by the very network that was trained, decoder included.

    Attributes:
        words: what makes the images.
        restore: images (B, C, H, W) in [0, 1], or noise where `noise` is not None, to images of the same kind.
        noise: the images (N, C, H, W) that it was trained on, if they are noise.
    """

    words: str
    restore: Callable[[Tensor], Tensor]
    noise: Tensor | None = None


def own_output(origin: TrainedNetwork) -> tuple[OwnOutput | None, str]:
    """How the network makes images by itself, or None; and in words how, or why not.

    A network with as many output channels as the image has makes them itself. Of a run whose network
    ends in feature channels, `last.ckpt` beside the file still holds the decoder that `backbone.safetensors` lacks.
    """
    network = origin.network
    if origin.is_random:
        return None, "random weights restore nothing by themselves"
    if network.out_channels == network.in_channels:
        words = "the network itself, with the last convolution that it was trained with"
        return OwnOutput(words, lambda image: shrunk(network(image), network)), words
    if origin.file is None or origin.method is None or origin.method.restored is Pretext.restored:
        return None, f"its {network.out_channels} output channels are no image, and no decoder for them is known"
    state = origin.file.parent / "last.ckpt"
    if not state.exists():
        return None, "its decoder was thrown away: there is no last.ckpt beside the file any more"
    if str(origin.recipe["backbone"]).startswith(OBJECT):
        return None, "its decoder belongs to an object that no record can make again"
    method = revived(origin, origin.method, state)
    if method.backbone.in_channels != network.in_channels:
        return None, f"its decoder makes images of {method.backbone.in_channels} channels, as the run saw them"
    noise = trained_noise(origin, method)
    words = "the network with the decoder that it was pre-trained with, from last.ckpt"
    if origin.saw_noise and not method.clamp:
        words += "; images are brought to mean 0 and deviation 1, like the noise that it was trained on"
    return OwnOutput(words, lambda image: decoded(method, image, standardise=origin.saw_noise), noise), words


def revived(origin: TrainedNetwork, kind: type[Pretext], state: Path) -> Pretext:
    """The pretext of a run with the weights in its `last.ckpt`, decoder included."""
    recipe = origin.recipe
    network = create_backbone(recipe["backbone"], **recipe.get("backbone_args", {}))
    method = create_pretext(kind, network, **recipe.get("pretext_args", {}))
    stored = torch.load(state, weights_only=True, map_location="cpu")["state_dict"]
    prefix = "pretext."
    method.load_state_dict({k.removeprefix(prefix): v for k, v in stored.items() if k.startswith(prefix)})
    return method.eval()


def decoded(method: Pretext, image: Tensor, *, standardise: bool) -> Tensor:
    """What a pretext's network and decoder make of an image (B, C, H, W)."""
    mean, deviation = 0.0, 1.0
    if standardise and not method.clamp:
        mean, deviation = image.mean((1, 2, 3), keepdim=True), image.std((1, 2, 3), keepdim=True)
    output = method.restored((image - mean) / deviation)
    assert output is not None, "own_output has asked"
    return output * deviation + mean


def trained_noise(origin: TrainedNetwork, method: Pretext) -> Tensor | None:
    """The first images of noise (N, C, H, W) that a run was trained on, at their size; None if it saw no noise."""
    if not origin.saw_noise:
        return None
    recipe = origin.recipe
    count = recipe.get("count") or 1
    noise = GeneratedImages("noise", count=count, channels=method.backbone.in_channels, seed=recipe["seed"])
    images = torch.stack([noise[(i, recipe["crop_size"])]["image"] for i in range(min(count, MOST_NOISE))])
    return method.original({"image": images})


def shrunk(output: Tensor, network: Backbone) -> Tensor:
    """A super-resolver's output averaged down to the size of its input; any other's as it is."""
    return output if network.scale == 1 else torch.nn.functional.avg_pool2d(output, network.scale)

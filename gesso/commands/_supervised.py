"""What `finetune` and `refine` share: the data of a task or a mix, opened, shown, and held against the network."""

from collections.abc import Sequence

from gesso.backbones import Backbone, list_backbones
from gesso.data.mixes import Part, open_parts
from gesso.data.training_data import largest
from gesso.functional.color import as_rgb
from gesso.functional.processes import in_comparison
from gesso.functional.resize import enlarge
from gesso.losses import Loss, LossSpec, open_loss
from gesso.metrics import beside, mean_psnr
from gesso.options import options_of
from gesso.options.data import TrainingPairs
from gesso.options.run import SupervisedRun
from gesso.pretext import load_frozen
from gesso.report.console import say, track, warn
from gesso.restorer import Restorer, in_words
from gesso.tasks import Task
from gesso.training.finetune_module import Validation


def open_data(command: SupervisedRun, channels: int) -> list[Part]:
    """What a run trains on and is measured on, see `gesso.data.mixes.open_parts`; says what was found.

    Args:
        command: says where the data is.
        channels: of the images that the network takes.
    """
    data = {name: getattr(command, name) for name in options_of(TrainingPairs)}
    del data["sampling"]
    parts = open_parts(data.pop("task"), data.pop("mix"), channels=channels, seed=command.seed, **data)
    for part in parts:
        say(f"{part.name}: {part.samples.summary}")
    return parts


def check_fit(net: Backbone, parts: Sequence[Part]) -> None:
    """Checks that a network takes and gives images as the tasks do.

    Raises:
        ValueError: naming the first task that is another.
    """
    for part in parts:
        task = part.task
        check_images(net, task, part.name)
        if net.scale != task.scale:
            does = f"enlarges {net.scale} times" if net.scale > 1 else "does not enlarge"
            others = [name for name in list_backbones() if name.endswith(f"_x{task.scale}")]
            advice = f"; others do: {', '.join(others)}" if others and task.scale > 1 else ""
            raise ValueError(f"{part.name}: the network {does}, but the task asks for scale {task.scale}{advice}")


def check_images(net: Backbone, task: Task, name: str) -> None:
    """Checks that a network takes images with the channels that a task sees.

    Raises:
        ValueError: if not; `name` is what the task is called.
    """
    if net.in_channels != task.channels:
        two = task.format.has_two_views
        advice = (
            "restormer_dual_pixel takes" if two else f"--backbone_args.image_channels {task.channels} makes it take"
        )
        raise ValueError(
            f"{name}: the task gives images of {task.channels} channels ({task.format}), and the network takes "
            f"{net.in_channels}; {advice} them"
        )


def loss_for(parts: Sequence[Part], spec: LossSpec | None) -> Loss:
    """The loss that an option means, see `gesso.losses.open_loss`; none: that of the (first) task."""
    return open_loss(spec or parts[0].task.loss, load_frozen)


def measure_input(part: Part) -> Validation:
    """The validation of a data set, with the PSNR of its unrestored input, which is printed."""
    pictures, task = part.samples.validation, part.task
    psnrs = []
    for i in track(range(len(pictures)), f"measuring the input of {part.name}", transient=True):
        lq, gt = pictures[i]["lq"], pictures[i]["gt"]
        lq = as_rgb(lq) if task.format.has_two_views else lq
        psnrs.append(task.protocol(enlarge(lq, task.scale), gt)["psnr"])
    mean = f"{mean_psnr(psnrs):.2f} dB{beside(psnrs)}"
    say(f"{part.name}: the unrestored validation input has {mean}; {task.protocol}")
    return Validation(part.name, pictures, task.protocol, psnrs)


def open_validations(parts: Sequence[Part], net: Backbone, tile: int | None, accelerator: str) -> list[Validation]:
    """What a run is measured on: the validation images of all parts, where there are any.

    Says once what `best.safetensors` should not be chosen on.

    Args:
        parts: what it trains on.
        net: the network.
        tile: side of the tiles that images are restored in; None: whole images.
        accelerator: what the run computes on.

    Raises:
        MemoryError: if the largest image cannot be restored so; it says which tile would fit.
    """
    parts = [part for part in parts if len(part.samples.validation)]
    device = "cpu" if accelerator == "cpu" else "auto"
    restorer = Restorer(net, tile, precision="float32", device=device, adapt=False)
    for part in parts:
        if size := largest(part.samples.validation):
            restorer.check_memory(*size)
    validations = [measure_input(part) for part in parts]
    if tile is not None:
        say(f"validation images are{in_words(tile).removeprefix(',')}")
    if in_comparison():  # which keeps no best.safetensors
        return validations
    better = "hold training images out (--holdout), or give others (--val)"
    if tested := [part.name for part in parts if part.samples.from_test]:
        warn(f"{', '.join(tested)}: best.safetensors is chosen on the test split, its score there is no test; {better}")
    if sum(len(part.samples.validation) for part in parts) == 1:
        warn(f"best.safetensors is chosen on one image; {better}")
    return validations

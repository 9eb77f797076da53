"""A run in its folder: data, devices, resuming, and what it leaves behind."""

import contextlib
import logging
import os
import signal
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.plugins import DoublePrecision
from lightning.pytorch.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import DataLoader, Dataset, default_collate

from gesso._values import seconds_in
from gesso.checkpoint.files import read_pickle
from gesso.data.generated import GeneratedImages
from gesso.functional.memory import is_out_of_memory
from gesso.functional.processes import in_comparison, local_processes, rank_info, under_slurm
from gesso.options import began
from gesso.options.run import TrainingRun
from gesso.report.console import say, warn
from gesso.training._module import TrainingError, TrainingModule
from gesso.training.callbacks import (
    GracefulStop,
    Interrupted,
    Measure,
    ProgressLine,
    Recorded,
    Samples,
    SaveCheckpoint,
    Snapshots,
)
from gesso.training.compiling import compile_features
from gesso.training.launch import init_process_group
from gesso.training.loggers import IDENTITIES, open_loggers
from gesso.training.precision import AutoPrecision, ChoosePrecision
from gesso.training.price import Cost, Length, advise, fit_into, lay_out, seconds_of, show_plan
from gesso.training.recipe import Recipe, change
from gesso.training.resume import advice_to_go_on, check_same_images, check_same_recipe
from gesso.training.sampling import Stage, StepSampler
from gesso.training.threads import choose_threads_for
from gesso.training.timing import check_memory, device_of, measure_cost

# Lightning 2.5 cannot be told to load no code; `read_pickle` has refused a state with any by then.
NO_CODE: dict[str, Any] = {"weights_only": True} if "weights_only" in signature(Trainer.fit).parameters else {}
SMALL_NETWORK = "nafnet_tiny"
OF_A_RUN = ("last.ckpt", "best.safetensors", "metrics.csv", "images.csv", "skipped.csv", IDENTITIES)


class RunData(LightningDataModule):
    """The samples of a run, by step, for this device."""

    def __init__(self, train: Dataset[Any], sampler: StepSampler, workers: int) -> None:
        super().__init__()
        self.train, self.sampler, self.workers = train, sampler, workers

    def train_dataloader(self) -> DataLoader[Any]:
        """This device's parts of the batches that are left of the run."""
        assert self.trainer is not None
        on_gpu = self.trainer.strategy.root_device.type == "cuda"
        return DataLoader(self.train, batch_sampler=self.sampler, num_workers=self.workers, pin_memory=on_gpu)

    def example(self, images: int | None = None, crop_size: int | None = None) -> dict[str, Any]:
        """This device's part of the first batch of the run, the same at any time; or less of it."""
        keys = self.sampler.part(0).keys[:images]
        return default_collate([self.train[(index, crop_size or size)] for index, size in keys])

    def batch(self, number: int) -> dict[str, Any]:
        """This device's part of a batch of the run."""
        return default_collate([self.train[key] for key in self.sampler.part(number).keys])

    def stages(self) -> list[Stage]:
        """The stages of the run, with the largest crop where parts of a mix have crops of their own."""
        own = [size for size in getattr(self.train, "crop_sizes", ()) if size]
        return [replace(stage, crop_size=max(own, default=stage.crop_size)) for stage in self.sampler.stages]


@dataclass(frozen=True)
class Training:
    """What a command makes ready to be trained.

    Attributes:
        module: what is trained.
        train: samples by (sample index, crop_size).
        what: the word in front of the progress bar.
    """

    module: TrainingModule
    train: Dataset[Any]
    what: str


def fit(training: Training, run: TrainingRun) -> None:
    """Trains in the folder of a run until its steps are done, or continues a run that lies there.

    What it takes is measured and printed first; with `dry_run`, that is all.

    Args:
        training: what is trained, and on what.
        run: the command, which is written to `config.yaml` with the steps that its budget has room for.

    Raises:
        ValueError: if the folder contains another run, if the recipe has changed, or if the budget is too small.
            Whether numbers are in range, commands check when they are made.
        TrainingError: if the loss stays non-finite.
        KeyboardInterrupt: after a requested stop, with the state saved.
    """
    quieten()
    module, train, stages = training.module, training.train, training.module.sampler.stages
    out = Path(run.out).absolute()  # Lightning would take a leading ~ for the home folder
    check_free(out, resume=run.resume, overwrite=run.overwrite)
    if run.precision == "float64":
        module.double()  # Lightning would load a state into float32 first
    with contextlib.nullcontext() if run.dry_run else claimed(out), advising(module, run):
        state = state_to_resume(out, run, longer=run.schedule in ("constant", "step") and len(stages) == 1)
        data = RunData(train, module.sampler, workers_for(train, run.accelerator, run.workers))
        if state is not None:
            take_up(module, data, run, state)
        planned = plan_run(module, data, run)
        if run.dry_run:
            return
        if planned.steps != run.steps:
            module.set_length(planned, data.sampler.first)
            data.sampler = module.sampler
        prepare_folder(out, Recipe.of(planned), state)
        trainer = trainer_for(planned, module, data, out, training.what, data.sampler.first // run.accumulate)
        train_in(trainer, module, data, state, out)


def take_up(module: TrainingModule, data: RunData, run: TrainingRun, state: Path) -> None:
    """Has the samples of a run go on where its state was saved.

    Raises:
        ValueError: if its images have changed since.
    """
    before = read_pickle(state)["gesso"]
    data.sampler.first = before["batches_done"]
    module.precision, module.threads = before.get("precision"), before.get("threads")
    skip = bool(getattr(run, "skip_damaged", False))
    names, advice = module.image_names(data.train), advice_to_go_on(state.parent, run.verb())
    check_same_images(before.get("images"), names, advice, skip=skip)
    say(f"resuming at step {data.sampler.first // run.accumulate} of {run.steps}")


def plan_run(module: TrainingModule, data: RunData, run: TrainingRun) -> TrainingRun:
    """Measures what a run takes, prints it, and returns the command with as many steps as its budget has room for.

    Runs of a comparison have been planned together.

    Raises:
        ValueError: if steps do not fit into the memory that is free, or the budget has room for none.
    """
    module.to(device := device_of(run.accelerator))
    if rank_info().world_size > 1:
        init_process_group(backend="cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    module.get_ready()
    if run.compile is not None:
        compile_features(module.backbone, run.compile, device)
    if data.sampler.first == 0:
        module.threads = choose_threads_for(module, run)
    check_memory(module, data, run)
    if in_comparison():
        return run
    done = data.sampler.first // run.accumulate
    cost = measure_cost(module, data, run, began.get() or time.monotonic())
    if run.budget is not None:
        run = keep_to_budget(run, cost, done)
    if done < run.steps:
        show_run(run, cost, Length.of(run, done))
    else:
        say(f"finished already: all {run.steps:,} steps are done")
    return run


def price_of(training: Training, run: TrainingRun, since: float) -> Cost:
    """What a run would take; it is not begun, and nothing is written.

    Args:
        training: what would be trained, and on what.
        run: the command.
        since: when getting it ready began, by `time.monotonic`.

    Raises:
        ValueError: if its steps do not fit into the memory that is free.
    """
    module = training.module
    data = RunData(training.train, module.sampler, workers_for(training.train, run.accelerator, run.workers))
    module.to(device_of(run.accelerator))
    check_memory(module, data, run)
    return measure_cost(module, data, run, since)


def keep_to_budget(run: TrainingRun, cost: Cost, done: int) -> TrainingRun:
    """The command with as many steps as its budget has room for, of those that it has at most; says what it chose.

    Raises:
        ValueError: if there is room for none that are worth it.
    """
    assert run.budget is not None
    most = Length.of(run, done)
    unsaid = getattr(run, "val_every", 0) is None
    length = fit_into(seconds_in(run.budget), cost, most, choose_measuring=unsaid)
    chosen: dict[str, Any] = {"steps": length.steps} | ({"val_every": length.val_every} if unsaid else {})
    told = ", ".join(f"--{name} {value}" for name, value in chosen.items())
    say(f"budget {run.budget}: {told}" + (", all that were asked for" if length.steps == most.steps else ""))
    return replace(run, **chosen)


def show_run(run: TrainingRun, cost: Cost, length: Length) -> None:
    """Prints what a run takes, and beyond an hour how it could be shorter."""
    parts = lay_out(cost, length)
    show_plan("plan", parts, cost, cost.disk + length.kept * cost.snapshot)
    network = getattr(run, "backbone", None)
    smaller = SMALL_NETWORK if isinstance(network, str) and network != SMALL_NETWORK else ""
    if advice := advise(seconds_of(parts), cost, length, smaller and f"--backbone {smaller}"):
        warn(advice)


@contextlib.contextmanager
def advising(module: TrainingModule, run: TrainingRun) -> Iterator[None]:
    """Says how a run goes on that is interrupted; a comparison says it for its runs."""
    try:
        yield
    except KeyboardInterrupt:
        again = "" if run.resume else " with --resume"
        if not in_comparison() and not run.dry_run:
            with contextlib.suppress(OSError):  # the terminal may be gone
                say(f"Interrupted at step {module.step}; give the same command again{again} to continue")
        raise


def trainer_for(run: TrainingRun, module: TrainingModule, data: RunData, out: Path, what: str, first: int) -> Trainer:
    """Lightning's trainer of a run, which begins, or goes on, at the step `first`."""
    here = rank_info()
    keep = SaveCheckpoint(out, run.save_every)
    stop = GracefulStop(keep)
    return Trainer(
        accelerator=run.accelerator,
        devices=here.local_world_size,
        num_nodes=here.nodes,
        strategy=parallel(module),
        plugins=[*launcher(), *precision_plugins(run.precision, run.accelerator)],
        precision={"bf16": "bf16-mixed", "float32": "32-true"}.get(run.precision),  # pyright: ignore[reportArgumentType]
        max_epochs=1,
        limit_val_batches=0,  # `Measure` measures, so that states and measurements have one order
        logger=open_loggers(out, first, run.logger, Recipe.of(run).options),
        callbacks=[
            stop,
            ChoosePrecision(),
            Snapshots(out, run.snapshot_every),
            keep,
            Measure(getattr(run, "val_every", None) or 0, stop),
            ProgressLine(what, run.steps),  # behind it: a line has the numbers of its own step
            Samples(out, run.sample_every, data.example),
            Recorded(stop),
        ],
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def train_in(trainer: Trainer, module: TrainingModule, data: RunData, state: Path | None, out: Path) -> None:
    """Trains, and says in gesso's words how it ended where it did not end well.

    Raises:
        TrainingError: if the run cannot go on.
        KeyboardInterrupt: after a requested stop, with the state saved.
    """
    try:
        trainer.fit(module, data, ckpt_path=state, **NO_CODE)
    except Interrupted:
        raise KeyboardInterrupt from None
    except SystemExit:  # Lightning's end of a run that is asked a second time, deaf from then on
        with contextlib.suppress(ValueError):  # only a main thread listens
            signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from None
    except TrainingError:
        raise
    except ValueError:
        if state is None and module.batches_done == 0 and rank_info().rank == 0:  # nothing has begun that is in the way
            (out / "config.yaml").unlink(missing_ok=True)
        raise
    except (RuntimeError, MemoryError, ConnectionError, EOFError) as error:
        if not (why := explained(error)):
            raise
        raise TrainingError(
            f"{why}, at step {module.step}; use --resume to continue from the last saved state"
        ) from error
    finally:
        (out / "hparams.yaml").unlink(missing_ok=True)  # Lightning's, and empty
    if module.skipped and trainer.is_global_zero:
        worst = ", ".join(f"{name} ({count})" for name, count in module.skipped.most_common(5))
        say(f"steps skipped for a gradient that was not finite, by sample: {worst}")


def explained(error: Exception) -> str:
    """What has gone wrong and what to do, where it is known; else nothing."""
    if "DataLoader worker" in str(error) or isinstance(error, ConnectionError | EOFError):  # while it sent
        return f"a process that loads samples died, perhaps for want of memory ({error}); take fewer --workers"
    if "--tile" in str(error):
        return str(error)
    if is_out_of_memory(error):
        return f"out of memory beside the training itself ({str(error).splitlines()[0]}); lower crop_size or batch_size"
    return ""


def workers_for(train: Dataset[Any], accelerator: str, asked: int | None) -> int:
    """Processes that load samples, for each device: none beside a CPU, or where there is nothing to load."""
    if asked is not None:
        return asked
    if not torch.cuda.is_available() or accelerator == "cpu" or (isinstance(train, GeneratedImages) and train.are_few):
        return 0
    return min(8, (os.cpu_count() or 1) // local_processes())


def parallel(module: TrainingModule) -> Any:
    """Lightning's strategy for the devices.

    Buffers are not copied from device to device: those of our networks never change.
    """
    if rank_info().world_size == 1:
        return "auto"
    idle = module.find_unused_parameters
    return DDPStrategy(find_unused_parameters=idle, broadcast_buffers=False, gradient_as_bucket_view=True)


def launcher() -> list[Any]:
    """How Lightning learns where this process stands among others; nothing where it is alone."""
    if rank_info().world_size == 1:
        return []
    # A job that SLURM stops is saved like any other, so Lightning's own way of requeueing is not needed.
    return [SLURMEnvironment(auto_requeue=False) if under_slurm() else TorchElasticEnvironment()]


def quieten() -> None:
    """Keeps Lightning from talking about what gesso has decided."""
    for part in ("pytorch", "fabric"):
        logging.getLogger(f"lightning.{part}").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning.*")
    warnings.filterwarnings("ignore", message="Grad strides do not match")  # DDP copies gradients then, no more


def precision_plugins(precision: str, accelerator: str) -> list[Any]:
    """What Lightning is given for precisions that it has no word for, or not with every strategy."""
    if precision == "auto":
        return [AutoPrecision("cuda" if torch.cuda.is_available() and accelerator != "cpu" else "cpu")]
    return [DoublePrecision()] if precision == "float64" else []


@contextlib.contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Holds a run's folder, so that two runs never write into one.

    Raises:
        ValueError: if another process holds it.
        FileExistsError: if it is a file.
    """
    if out.is_file():
        raise FileExistsError(f"{out}: expected a folder for the run, this is a file")
    is_new = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    if rank_info().rank > 0:  # processes of one run share the folder; the first holds it
        yield
        return
    try:
        held = FileLock(out / ".lock").acquire(blocking=False)
    except Timeout:
        raise ValueError(f"{out}: another run is writing here; wait for it, or choose another folder") from None
    with held, contextlib.ExitStack() as end:
        if is_new:
            end.callback(remove_if_unused, out)
        folders = (".", "samples", "snapshots", "val_images/*/*")
        killed = (out / "last.ckpt.part", *(part for folder in folders for part in out.glob(f"{folder}/.*.tmp*")))
        for part in killed:  # of a run that was killed while it wrote
            part.unlink(missing_ok=True)
        yield


def remove_if_unused(out: Path) -> None:
    """Removes the folder of a run that was refused before it wrote anything."""
    with contextlib.suppress(OSError):  # it is gone, or Windows lets nobody remove a lock that is held
        if [path.name for path in out.iterdir()] == [".lock"]:
            (out / ".lock").unlink()
            out.rmdir()


def check_free(out: Path, *, resume: bool, overwrite: bool) -> None:
    """Checks that a folder holds no run, unless that is to go on or to be replaced.

    Raises:
        ValueError: if it does.
    """
    if rank_info().rank == 0 and (out / "config.yaml").exists() and not (overwrite or resume):
        raise ValueError(f"{out} already contains a run; use --resume to continue, or --overwrite to replace it")


def state_to_resume(out: Path, run: TrainingRun, *, longer: bool) -> Path | None:
    """The state that a run goes on from; None where it begins.

    Args:
        out: its folder.
        run: the command.
        longer: whether a run with more steps begins as one with fewer does.

    Raises:
        ValueError: if the run in the folder is another command's, or its recipe differs.
    """
    state = out / "last.ckpt"
    if not (run.resume and state.exists()):
        return None
    if rank_info().rank == 0:
        check_same_recipe(Recipe.of(run), out / "config.yaml", longer=longer)
    return state


def prepare_folder(out: Path, recipe: Recipe, state: Path | None) -> None:
    """Readies a run's folder, which the first process does for all: what lies there of another run is removed.

    Args:
        out: the folder.
        recipe: of the run.
        state: from which it goes on; None where it begins.
    """
    if rank_info().rank > 0:
        return
    if state is not None:
        change(
            out / "config.yaml",
            {name: recipe.options[name] for name in ("steps", "patience") if name in recipe.options},
        )
        return
    old = [out / name for name in OF_A_RUN]
    sheets = (*out.glob("samples/*.png"), *out.glob("val_images/*/*/*.png"))
    for path in (*old, *sheets, *out.glob("snapshots/*.safetensors")):
        path.unlink(missing_ok=True)
    recipe.write(out / "config.yaml")

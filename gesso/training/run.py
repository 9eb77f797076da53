"""A run in its folder: data, devices, resuming, and what it leaves behind."""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
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

from gesso.checkpoint.files import read_pickle
from gesso.data.generated import GeneratedImages
from gesso.functional.memory import is_out_of_memory
from gesso.functional.processes import local_processes, rank_info, under_slurm
from gesso.options.run import TrainingRun
from gesso.report.console import say
from gesso.training._module import TrainingError, TrainingModule
from gesso.training.callbacks import (
    CostEstimate,
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
from gesso.training.launch import leave_at_exit
from gesso.training.loggers import IDENTITIES, open_loggers
from gesso.training.precision import AutoPrecision, ChoosePrecision
from gesso.training.recipe import Recipe, change
from gesso.training.resume import advice_to_go_on, check_same_images, check_same_recipe, list_names
from gesso.training.sampling import Stage, StepSampler

# Lightning 2.5 cannot be told to load no code; `read_pickle` has refused a state with any by then.
NO_CODE: dict[str, Any] = {"weights_only": True} if "weights_only" in signature(Trainer.fit).parameters else {}
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

    def stages(self) -> list[Stage]:
        """The stages of the run, with the largest crop where parts of a mix have crops of their own."""
        own = [size for size in getattr(self.train, "crop_sizes", ()) if size]
        return [replace(stage, crop_size=max(own, default=stage.crop_size)) for stage in self.sampler.stages]


def fit(module: TrainingModule, train: Dataset[Any], run: TrainingRun, *, what: str, stages: Sequence[Stage]) -> None:
    """Trains `module` in the folder of a run until its steps are done, or continues a run that lies there.

    Args:
        module: what is trained.
        train: samples by (sample index, crop_size).
        run: the command, which is written to `config.yaml`.
        what: the word in front of the progress bar.
        stages: crop and batch over the run.

    Raises:
        ValueError: if the folder contains another run, or if the recipe has changed. Whether numbers are in range,
            commands check when they are made.
        TrainingError: if the loss stays non-finite.
        KeyboardInterrupt: after a requested stop, with the state saved.
    """
    quieten()
    out = Path(run.out).absolute()  # Lightning would take a leading ~ for the home folder
    here, recipe = rank_info(), Recipe.of(run)
    sampler = StepSampler(stages, run.steps * run.accumulate, rank=here.rank, world=here.world_size)
    module.plan(run, sampler)
    if here.world_size > 1:
        leave_at_exit()
    module.images["training"] = list_names(train)
    data = RunData(train, sampler, workers_for(train, run.accelerator) if run.workers is None else run.workers)
    if run.precision == "float64":
        module.double()  # Lightning would load a state into float32 first
    with claimed(out):
        longer = run.schedule in ("constant", "step") and len(stages) == 1
        state = prepare_folder(out, recipe, resume=run.resume, overwrite=run.overwrite, longer=longer)
        if state is not None:
            before = read_pickle(state)["gesso"]
            sampler.first = before["batches_done"]
            skip = bool(recipe.options.get("skip_damaged"))
            check_same_images(before.get("images"), module.images, advice_to_go_on(out, recipe.verb), skip=skip)
            say(f"resuming at step {sampler.first // run.accumulate} of {run.steps}")
        trainer = trainer_for(run, module, data, out, what, sampler.first // run.accumulate)
        if run.compile is not None:
            compile_features(module.backbone, run.compile, trainer.strategy.root_device)
        train_in(trainer, module, data, state, out)


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
            CostEstimate(data.example, data.stages(), run.steps),
            ProgressLine(what, run.steps),
            Snapshots(out, run.snapshot_every),
            keep,
            Measure(module.val_every, stop),
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
        with contextlib.suppress(OSError):  # the terminal may be gone
            say(f"stopped at step {module.step}; use --resume to continue")
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


def workers_for(train: Dataset[Any], accelerator: str) -> int:
    """Processes that load samples, for each device: none beside a CPU, or where there is nothing to load."""
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
    out.mkdir(parents=True, exist_ok=True)
    if rank_info().rank > 0:  # processes of one run share the folder; the first holds it
        yield
        return
    try:
        held = FileLock(out / ".lock").acquire(blocking=False)
    except Timeout:
        raise ValueError(f"{out}: another run is writing here; wait for it, or choose another folder") from None
    with held:
        folders = (".", "samples", "snapshots", "val_images/*/*")
        killed = (out / "last.ckpt.part", *(part for folder in folders for part in out.glob(f"{folder}/.*.tmp*")))
        for part in killed:  # of a run that was killed while it wrote
            part.unlink(missing_ok=True)
        yield


def prepare_folder(out: Path, recipe: Recipe, *, resume: bool, overwrite: bool, longer: bool) -> Path | None:
    """Readies a run's folder and returns the state to resume from, or None for a fresh start.

    Args:
        out: the folder.
        recipe: of the run to come.
        resume: go on with a run that stands there.
        overwrite: replace it.
        longer: whether the run that stands there is the beginning of one with more steps.

    Raises:
        ValueError: if a run stands in the folder and neither `resume` nor `overwrite` is given, or if the run to resume
            is another command's, or its recipe differs.
    """
    state, config = out / "last.ckpt", out / "config.yaml"
    if rank_info().rank > 0:  # the first process readies the folder
        return state if resume and state.exists() else None
    if resume and state.exists():
        check_same_recipe(recipe, config, longer=longer)
        change(config, {name: recipe.options[name] for name in ("steps", "patience") if name in recipe.options})
        return state
    if config.exists() and not (overwrite or resume):
        raise ValueError(f"{out} already contains a run; use --resume to continue, or --overwrite to replace it")
    old = [out / name for name in OF_A_RUN]
    sheets = (*out.glob("samples/*.png"), *out.glob("val_images/*/*/*.png"))
    for path in (*old, *sheets, *out.glob("snapshots/*.safetensors")):
        path.unlink(missing_ok=True)
    recipe.write(config)
    return None

"""A run in its folder: data, devices, resuming, and what it leaves behind."""

import contextlib
import importlib.util
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any, Literal

import torch
from filelock import FileLock, Timeout
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.plugins import DoublePrecision
from lightning.pytorch.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import DataLoader, Dataset, default_collate

from gesso.checkpoint.files import read_pickle
from gesso.data.generated import GeneratedImages
from gesso.functional.checks import check_choice
from gesso.functional.memory import is_out_of_memory
from gesso.functional.processes import local_processes, rank_info, under_slurm
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
from gesso.training.compiling import Mode, compile_features
from gesso.training.launch import leave_at_exit
from gesso.training.precision import AutoPrecision, ChoosePrecision
from gesso.training.recipe import Recipe, change
from gesso.training.resume import advice_to_go_on, check_same_images, check_same_recipe, list_names
from gesso.training.sampling import Stage, StepSampler
from gesso.training.schedules import ScheduleName
from gesso.training.schedules import schedule as schedule_by_name
from gesso.training.table import Table

Strategy = Literal["auto", "ddp"]

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
# Lightning 2.5 cannot be told to load no code; `read_pickle` has refused a state with any by then.
NO_CODE: dict[str, Any] = {"weights_only": True} if "weights_only" in signature(Trainer.fit).parameters else {}
OF_A_RUN = ("last.ckpt", "best.safetensors", "metrics.csv", "images.csv", "skipped.csv")


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


def fit(
    module: TrainingModule,
    train: Dataset[Any],
    out: Path,
    recipe: Recipe,
    *,
    what: str,
    stages: Sequence[Stage],
    steps: int,
    val_every: int = 0,
    val_images: int = 0,
    optimizer: Literal["adam", "adamw"] = "adamw",
    lr: float = 3e-4,
    betas: tuple[float, float] = (0.9, 0.999),
    weight_decay: float = 0.0,
    decay_vectors: bool = True,
    schedule: ScheduleName = "cosine",
    warmup_steps: int = 0,
    min_lr: float = 1e-6,
    milestones: list[int] | None = None,
    gamma: float = 0.5,
    clip_norm: float | None = None,
    accumulate: int = 1,
    ema_decay: float | None = None,
    precision: Literal["auto", "float32", "bf16", "float64"] = "auto",
    seed: int = 0,
    devices: int = 1,
    num_nodes: int = 1,
    accelerator: str = "auto",
    strategy: Strategy = "auto",
    workers: int | None = None,
    compile: Mode | None = None,
    log_every: int = 10,
    sample_every: int = 500,
    save_every: int = 500,
    snapshot_every: int = 0,
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Trains `module` in the folder `out` until `steps` steps are done, or goes on with a run that stands there.

    Args:
        module: what is trained.
        train: samples by (sample index, crop_size).
        out: folder of the run.
        recipe: of the run, written to `config.yaml`.
        what: the word in front of the progress bar.
        stages: crop and batch over the run.
        steps: optimiser steps of the whole run.
        val_every: steps between two measurements; 0: only at the end.
        val_images: images of each validation set that every measurement writes into `val_images`, at full size: input,
            restored and ground truth side by side, with their PSNR.
        optimizer: "adam" or "adamw".
        lr: peak learning rate.
        betas: running-average coefficients of Adam.
        weight_decay: decoupled for "adamw".
        decay_vectors: let weights of one axis (biases, norms) decay as well; MFM and IFP's code spare them.
        schedule: learning rate over the run: "constant", "cosine", Restormer's "two_phase", or "step", which falls at
            each of `milestones`.
        warmup_steps: steps of linear warm-up.
        min_lr: learning rate at the end of "cosine" and "two_phase".
        milestones: steps at which "step" multiplies the learning rate by `gamma`, in rising order.
        gamma: factor of "step" at each milestone, in (0, 1].
        clip_norm: largest global norm of the gradient; none: no clipping.
        accumulate: batches whose gradients are averaged into one optimiser step.
        ema_decay: decay of an exponential moving average of the weights, which is then what is saved and measured;
            none: no average.
        precision: "float32", "bf16" (mixed), "float64" (to compare runs), or "auto": bf16 where the CPU or GPU
            computes in it and, on a CPU, a few steps at the start are faster in it; a run keeps what it began with.
        seed: every random draw of the run follows from it.
        devices: devices (GPUs or CPU processes) on each node, which share every batch; torchrun and srun say it
            themselves.
        num_nodes: machines.
        accelerator: "auto", "cpu" or "gpu".
        strategy: "auto" or "ddp": every device holds the whole network; there is no other (docs/scaling.md says why).
        workers: processes that load samples; none: 0 on the CPU, up to 8 beside a GPU. Results do not depend on it.
        compile: "default" compiles the network's features by torch.compile, which takes minutes once; on a GPU,
            "reduce-overhead" records them as CUDA graphs, too; none: no compilation.
        log_every: steps between two lines of metrics.csv.
        sample_every: steps between two sample sheets; 0: only at the end.
        save_every: steps between two saved states; 0: only at the end.
        snapshot_every: steps between two networks that are kept, `snapshots/STEP.safetensors`; 0: none.
        resume: go on with the run in `out`; its recipe and its images must be the same, but for devices and other
            things that do not change its result, and for more steps where the schedule allows them.
        overwrite: replace a run that stands in `out`.

    Raises:
        ValueError: for a strategy that is unknown, if `out` holds another run, or if the
            recipe has changed. Whether numbers are in range, commands ask before they open anything.
        TrainingError: if the loss stays non-finite.
        KeyboardInterrupt: after a requested stop, with the state saved.
    """
    quieten()
    out = out.absolute()  # Lightning would take a leading ~ for the home folder
    here = rank_info()
    sampler = StepSampler(stages, steps * accumulate, rank=here.rank, world=here.world_size)
    module.plan(
        sampler=sampler,
        optimizer=partial(OPTIMIZERS[optimizer], lr=lr, betas=betas, weight_decay=weight_decay, fused=True),
        decay_norm_bias=decay_vectors,
        schedule=schedule_by_name(
            schedule,
            lr,
            steps=steps,
            warmup_steps=warmup_steps,
            min_lr=min_lr,
            milestones=milestones,
            gamma=gamma,
        ),
        clip_norm=clip_norm,
        accumulate=accumulate,
        ema_decay=ema_decay,
        log_every=log_every,
        seed=seed,
    )
    module.val_images = val_images
    if here.world_size > 1:
        leave_at_exit()
    module.images["training"] = list_names(train)
    data = RunData(train, sampler, workers_for(train, accelerator) if workers is None else workers)
    together = parallel(strategy, module)
    if precision == "float64":
        module.double()  # Lightning would load a state into float32 first
    with claimed(out):
        longer = schedule in ("constant", "step") and len(stages) == 1
        state = prepare_folder(out, recipe, resume=resume, overwrite=overwrite, longer=longer)
        if state is not None:
            before = read_pickle(state)["gesso"]
            sampler.first = before["batches_done"]
            skip = bool(recipe.options.get("skip_damaged"))
            check_same_images(before.get("images"), module.images, advice_to_go_on(out, recipe.verb), skip=skip)
            say(f"going on at step {sampler.first // accumulate} of {steps}")
        keep = SaveCheckpoint(out, save_every)
        stop = GracefulStop(keep)
        trainer = Trainer(
            accelerator=accelerator,
            devices=here.local_world_size,
            num_nodes=here.nodes,
            strategy=together,
            plugins=[*launcher(), *precision_plugins(precision, accelerator)],
            precision={"bf16": "bf16-mixed", "float32": "32-true"}.get(precision),  # pyright: ignore[reportArgumentType]
            max_epochs=1,
            limit_val_batches=0,  # `Measure` measures, so that states and measurements have one order
            logger=loggers(out, sampler.first // accumulate),
            callbacks=[
                stop,
                ChoosePrecision(),
                CostEstimate(data.example, data.stages(), steps),
                ProgressLine(what, steps),
                Snapshots(out, snapshot_every),
                keep,
                Measure(val_every, stop),
                Samples(out, sample_every, data.example),
                Recorded(stop),
            ],
            use_distributed_sampler=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        if compile is not None:
            compile_features(module.backbone, compile, trainer.strategy.root_device)
        try:
            trainer.fit(module, data, ckpt_path=state, **NO_CODE)
        except Interrupted:
            with contextlib.suppress(OSError):  # the terminal may be gone
                say(f"stopped at step {module.step}; --resume goes on from here")
            raise KeyboardInterrupt from None
        except TrainingError:
            raise
        except ValueError:
            if state is None and module.batches_done == 0 and here.rank == 0:  # nothing has begun that is in the way
                (out / "config.yaml").unlink(missing_ok=True)
            raise
        except (RuntimeError, MemoryError, ConnectionError, EOFError) as error:
            if not (why := explained(error)):
                raise
            raise TrainingError(f"{why}, at step {module.step}. --resume goes on from the last saved state") from error
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


def parallel(strategy: Strategy, module: TrainingModule) -> Any:
    """Lightning's strategy for the devices.

    Buffers are not copied from device to device: those of our networks never change.

    Raises:
        ValueError: for other strategies.
    """
    check_choice("strategy", strategy, Strategy)
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
        change(config, {"steps": recipe.options["steps"]})
        return state
    if config.exists() and not (overwrite or resume):
        raise ValueError(f"{out} holds a run already; --resume goes on with it, --overwrite replaces it")
    old = [out / name for name in OF_A_RUN]
    sheets = (*out.glob("samples/*.png"), *out.glob("val_images/*/*/*.png"))
    for path in (*old, *sheets, *out.glob("snapshots/*.safetensors")):
        path.unlink(missing_ok=True)
    recipe.write(config)
    return None


def loggers(out: Path, step: int) -> list[Any]:
    """metrics.csv, and TensorBoard events where it is installed; rows after `step`, which come again, are dropped."""
    table = CSVLogger(out, name="", version="")
    table._experiment = Table(out / "metrics.csv", step)
    if importlib.util.find_spec("tensorboard") is None:
        say("no events for TensorBoard, which is not installed (pip install 'gesso[tensorboard]'); metrics.csv has all")
        return [table]
    return [table, TensorBoardLogger(out, name="", version="")]

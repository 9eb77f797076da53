"""What happens beside the training step: saving, measuring, sample sheets, the progress bar, a request to stop.

What is due at a step is done in the order of the callbacks: the state is saved, images are measured, a sheet is drawn,
and then `Recorded` notes that all of it is on record. A state that was saved before that says so, and the run that
resumes from it makes up for what is missing before its first step. So a kill at any moment loses no result.

Lightning's own callbacks of these kinds, put in the place of ours (2.6.6, a small NAFNet, 6 steps), do otherwise:

- `OnExceptionCheckpoint` also writes within an accumulated step, whose gradients no state holds: a run with
  `accumulate=2` that failed there and was resumed ended with weights 0.035 from those of an unbroken one, where ours
  ends with the same bits. At a good end it removes the file, so nothing is left for more steps to go on from.
- `WeightAveraging` and `EMAWeightAveraging` (absent from 2.5, which we run with) average as `AveragedModel` does here,
  but outside the module: measurements and `backbone.safetensors` had the weights of the last step. They count by
  Lightning's steps, which begin at 0 again in a resumed run: its average ended 0.009 from the unbroken one's.
- `TQDMProgressBar` and `RichProgressBar` count batches of an epoch: a run resumed at step 2 of 4 showed `1/?` and
  `2/?`, no step of the run and no time left, and drew its bar into a log that is no terminal.
- `EarlyStopping` reads what Lightning's own validation loop logs, whose order with saving is not ours.
"""

import contextlib
import csv
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback

from gesso import checkpoint
from gesso.data.io import atomic_text
from gesso.functional.random import generator_for
from gesso.report.console import Pulse, console, left_of_the_whole, progress_bar, say
from gesso.report.sheets import with_psnr, write_sheet
from gesso.training._module import TrainingModule
from gesso.training.launch import stop_signals

Item = TypeVar("Item")


def steps_done(module: TrainingModule, every: int) -> bool:
    """Whether a step has just been completed whose number is a multiple of `every` (0: never)."""
    return bool(every) and module.batches_done % (every * module.accumulate) == 0


def is_due(module: TrainingModule, every: int) -> bool:
    """Whether what is done every so many steps (0: never), and at the end, is due after the last batch."""
    return steps_done(module, every) or module.is_done


def lacks_record(module: TrainingModule) -> bool:
    """Whether a run that is resumed was stopped before all that is due at its step was on record."""
    return module.recorded < module.batches_done


def on_device(batch: dict[str, Any], trainer: Trainer, module: TrainingModule) -> dict[str, Any]:
    """A batch where the module is, in the precision of the run."""
    return trainer.precision_plugin.convert_input(module.transfer_batch_to_device(batch, module.device, 0))


class SaveCheckpoint(Callback):
    """Writes `last.ckpt`, which `--resume` reads, and `backbone.safetensors`, which everything else reads.

    Both at every `save_every` steps, at the end, before a requested stop, and on a single device where an error ends
    the run between two steps; always to a temporary name first.
    """

    def __init__(self, out: Path, save_every: int) -> None:
        self.out, self.save_every, self.saved = out, save_every, (-1, -1)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *args: Any, **kwargs: Any) -> None:
        """Saves when it is time, but never after steps without a finite gradient: these it lists."""
        if pl_module.skipped_in_a_row:
            if trainer.is_global_zero:
                self.list_skipped(pl_module)
        elif is_due(pl_module, self.save_every):
            self.save(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Saves the end, whatever ended the run, with the word that everything is on record."""
        if self.saved != (pl_module.batches_done, pl_module.recorded):
            self.save(trainer, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Remembers where the run stood, so that nothing is saved that is no news."""
        self.saved = pl_module.batches_done, pl_module.recorded

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Saves what was reached, if it is whole; other devices than one cannot be counted on after an error."""
        news = pl_module.batches_done > self.saved[0] >= 0
        sound = pl_module.is_whole and not pl_module.skipped_in_a_row and trainer.training
        if news and sound and isinstance(exception, Exception) and trainer.world_size == 1:
            self.save(trainer, pl_module)
            say(f"state of step {pl_module.step} saved; use --resume to continue")

    def list_skipped(self, module: TrainingModule) -> None:
        """Writes `skipped.csv`: in how many skipped steps each sample took part."""
        with atomic_text(self.out / "skipped.csv") as file:
            csv.writer(file).writerows([("sample", "skipped steps"), *module.skipped.most_common()])

    def save(self, trainer: Trainer, module: TrainingModule) -> None:
        """Writes both files; on many devices every rank takes part and rank 0 writes."""
        self.saved = module.batches_done, module.recorded
        for logger in trainer.loggers:
            logger.save()  # what a state has behind it stands in metrics.csv, even if the run is killed next
        temporary = self.out / "last.ckpt.part"
        try:
            trainer.save_checkpoint(temporary)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise OSError(error.errno, f"could not write {self.out / 'last.ckpt'}: {error.strerror}") from error
        if trainer.is_global_zero:
            temporary.replace(self.out / "last.ckpt")
            checkpoint.save(module.deliverable, self.out / "backbone.safetensors", **module.header())
            for name, part in module.extra_modules().items():
                checkpoint.save_state(part.state_dict(), self.out / f"{name}.safetensors", **module.header())


class Snapshots(Callback):
    """Writes `snapshots/200000.safetensors` every so many steps: the network as it was, to compare later.

    Before the state of the step is saved, so that a run which goes on from there has it.
    """

    def __init__(self, out: Path, every: int) -> None:
        self.folder, self.every = out / "snapshots", every

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *args: Any, **kwargs: Any) -> None:
        """Writes when it is time; on many devices rank 0 writes."""
        if steps_done(pl_module, self.every) and trainer.is_global_zero:
            path = self.folder / f"{pl_module.step}.safetensors"
            checkpoint.save(pl_module.deliverable, path, **pl_module.header())


class Measure(Callback):
    """Measures the images that the module is held against, every `val_every` steps and at the end.

    A run that was asked to stop does not begin with it, and on a single device does not end it: when the run is
    resumed, it is made up for.
    """

    def __init__(self, val_every: int, stop: "GracefulStop") -> None:
        self.val_every, self.stop = val_every, stop

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Measures the start where that is asked for, or makes up for what was due when the state was saved."""
        begins = pl_module.val_at_start and pl_module.batches_done == 0
        if begins or (lacks_record(pl_module) and is_due(pl_module, self.val_every)):
            self.measure(trainer, pl_module)
        elif pl_module.has_waited:
            trainer.should_stop = True
            say(f"stopped early: {pl_module.best}; more --patience lets it go on")

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *args: Any, **kwargs: Any) -> None:
        """Measures when it is time."""
        if is_due(pl_module, self.val_every):
            self.measure(trainer, pl_module)

    def measure(self, trainer: Trainer, module: TrainingModule) -> None:
        """Has the module measure its images, and stops between two of them if the run was asked to."""
        self.stop.obey(trainer, module)

        def watch(images: Sequence[Item]) -> Iterator[Item]:
            pulse = Pulse()
            for done, image in enumerate(images, start=1):
                yield image
                if pulse() and not console.is_terminal:
                    say(f"step {module.step}: measured {done} of {len(images)}, {pulse.left(done, len(images))}")
                if trainer.world_size == 1:
                    self.stop.obey(trainer, module)

        module.measure(watch)
        for logger in trainer.loggers:
            logger.save()
        if module.has_waited and not trainer.should_stop and module.batches_done < module.sampler.batches:
            trainer.should_stop = True
            if trainer.is_global_zero:
                say(f"step {module.step}: {module.best}; the run stops early, as --patience says")


class Samples(Callback):
    """Writes `samples/000300.png`, the run at work on a batch that never changes."""

    def __init__(self, out: Path, every: int, batch: Callable[[], dict[str, Any]], rows: int = 4) -> None:
        self.folder, self.every, self.batch, self.rows = out / "samples", every, batch, rows

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *args: Any, **kwargs: Any) -> None:
        """Draws when it is time, and at the end."""
        if is_due(pl_module, self.every):
            self.draw(trainer, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Makes up for a sheet that was due when the state was saved."""
        if lacks_record(pl_module) and is_due(pl_module, self.every):
            self.draw(trainer, pl_module)

    def draw(self, trainer: Trainer, module: TrainingModule) -> None:
        """Writes the sheet of the present step on rank 0, one image after the other: memory may not hold a batch."""
        if not trainer.is_global_zero:
            return
        batch = on_device(self.batch(), trainer, module)
        generator = generator_for(module.seed, "preview", device=module.device)
        count = min(self.rows, *(len(values) for values in batch.values()))
        rows = []
        for i in range(count):
            pictures = module.preview({name: values[i : i + 1] for name, values in batch.items()}, generator)
            rows.append(with_psnr({label: images[0] for label, images in pictures.items()}))
        write_sheet(self.folder / f"{module.step:06d}.png", rows, batch.get("name", [])[:count])


class Recorded(Callback):
    """Notes in the module that all that was due is on record, and ends a run that was asked to stop."""

    def __init__(self, stop: "GracefulStop") -> None:
        self.stop = stop

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Whatever was missing has been made up for."""
        pl_module.recorded = pl_module.batches_done

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *args: Any, **kwargs: Any) -> None:
        """Whatever was due has been done.

        Several devices ask each other for requests to stop only when they log, for each question makes them wait for
        the slowest.
        """
        pl_module.recorded = pl_module.batches_done
        if trainer.world_size == 1 or steps_done(pl_module, pl_module.log_every):
            self.stop.obey(trainer, pl_module)


class ProgressLine(Callback):
    """A progress bar over optimiser steps with the time left; a resumed run begins at its own step.

    Where there is no terminal, a line at the first losses, every minute, and at the end. Every minute `metrics.csv` is
    written, too.
    """

    def __init__(self, what: str, steps: int) -> None:
        self.what, self.steps = what, steps
        self.told = -1  # the step of the last line

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Shows the bar on rank 0."""
        self.pulse, self.first = Pulse(), pl_module.step
        self.progress = progress_bar(disable=not (trainer.is_global_zero and console.is_terminal))
        self.task = self.progress.add_task(self.what, total=self.steps, completed=pl_module.step, note="")
        self.progress.start()

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *args: Any, **kwargs: Any) -> None:
        """Moves the bar, or says how far the run is."""
        what = left_of_the_whole(pl_module.step / self.steps) or self.what
        self.progress.update(self.task, description=what, completed=pl_module.step, note=pl_module.note)
        if due := self.pulse():
            for logger in trainer.loggers:
                logger.save()
        if not console.is_terminal and (due or (pl_module.note and self.told < 0)):
            self.told = pl_module.step
            say(self.line(pl_module))

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Takes the bar away."""
        self.progress.stop()
        if not console.is_terminal and pl_module.step not in (self.first, self.told):
            say(self.line(pl_module))

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Gives the terminal back, unless it is gone."""
        if hasattr(self, "progress"):
            with contextlib.suppress(OSError):
                self.progress.stop()

    def line(self, module: TrainingModule) -> str:
        """How far the run is: `derain nafnet: step 12 of 40, loss 0.0312, lr 0.00021, derain 28.31 dB, 2 h left`."""
        parts = [f"{self.what}: step {module.step} of {self.steps}", module.note, f"lr {module.rate:.3g}"]
        parts += [module.reached, self.pulse.left(module.step - self.first, self.steps - self.first)]
        parts.append(left_of_the_whole(module.step / self.steps))
        return ", ".join(part for part in parts if part)


class Interrupted(Exception):  # noqa: N818 (InterruptedError is Python's own)
    """Ends a run that was asked to stop, its state saved."""


class GracefulStop(Callback):
    """Ctrl-C, SIGTERM or SIGHUP ends the run after the present step, its state saved; a second one ends it at once.

    The run ends by an exception: what Lightning saves after `trainer.should_stop` counts as a finished epoch, from
    which nothing can go on.
    """

    def __init__(self, keep: SaveCheckpoint) -> None:
        self.keep, self.requested = keep, False

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Listens to the signals, in place of Lightning, which would not save; only a main thread can."""
        self.before = {}
        for number in stop_signals():
            try:
                self.before[number] = signal.signal(number, self.note)
            except ValueError:
                return

    def note(self, number: int, frame: Any) -> None:
        """Remembers the request and lets the next signal through."""
        self.requested = True
        signal.signal(number, self.before[number])

    def obey(self, trainer: Trainer, module: TrainingModule) -> None:
        """Saves the state and ends the run on all devices if one was asked to, unless a step is half done.

        Raises:
            Interrupted: if so.
        """
        if trainer.strategy.reduce_boolean_decision(self.requested, all=False) and steps_done(module, 1):
            self.keep.save(trainer, module)
            raise Interrupted

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """A run that fails gives the signals back, too; Lightning tears no callback down then."""
        self.teardown(trainer, pl_module, "fit")

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Gives the signals back."""
        for number, handler in getattr(self, "before", {}).items():
            signal.signal(number, handler)

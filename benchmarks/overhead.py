"""What a step of a run takes beside its network: Lightning, callbacks, logging and data, as a share of the step.

    OMP_NUM_THREADS=1 python benchmarks/overhead.py nafnet_tiny --data derain_rain100h

Processor time of a whole `gesso finetune` in one thread; the first steps, which fill the cache of images, are left out.
"""

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import gesso
from gesso.training._module import TrainingModule

WARM_UP = 30  # steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", nargs="?", default="nafnet_tiny")
    parser.add_argument("--data", required=True, help="root of a data set for deraining")
    parser.add_argument("--crop_size", type=int, default=64)
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--precision", default="float32", choices=["float32", "bf16"])
    options = parser.parse_args()
    spent = Counter[str]()
    watch(spent, "backward_of", "optimise")
    begun = watch_steps(spent)
    with tempfile.TemporaryDirectory() as folder:
        gesso.finetune(
            out=Path(folder) / "run", task="derain", data=options.data, backbone=options.network, steps=options.steps,
            crop_size=options.crop_size, batch_size=options.batch_size, precision=options.precision,
            sample_every=0, save_every=0, accelerator="cpu",
        )  # fmt: skip
    (start, before), (stop, after) = begun[WARM_UP], begun[-1]
    step = 1e3 * (stop - start) / (len(begun) - 1 - WARM_UP)
    parts = {name: 1e3 * (after[name] - before[name]) / (len(begun) - 1 - WARM_UP) for name in after}
    beside = step - sum(parts.values())
    print(f"step {step:.2f} ms: {', '.join(f'{name} {taken:.2f}' for name, taken in parts.items())}, ", end="")
    print(f"beside them {beside:.2f}, {beside / step:.1%}")


def watch(spent: Counter[str], *names: str) -> None:
    """Has these methods of a run add their seconds to `spent`."""

    def timed(method: Any, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            try:
                return method(*args, **kwargs)
            finally:
                spent[name] += time.process_time() - start

        return call

    for name in names:
        setattr(TrainingModule, name, timed(getattr(TrainingModule, name), name))


def watch_steps(spent: Counter[str]) -> list[tuple[float, Counter[str]]]:
    """The seconds at which each step begins, and what was spent until then; filled as a run goes on."""
    begun: list[tuple[float, Counter[str]]] = []
    step = TrainingModule.training_step

    def call(*args: Any, **kwargs: Any) -> None:
        begun.append((time.process_time(), spent.copy()))
        step(*args, **kwargs)

    TrainingModule.training_step = call
    return begun


if __name__ == "__main__":
    main()

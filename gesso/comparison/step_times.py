"""What a training step takes in one process, and in several at a time that share the cores.

They are processes as runs of a comparison are, for threads of one interpreter wait for each other. Each imports torch
once, no Lightning, and is then asked by a line on its input: a number of threads; it answers with a line of JSON.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

import torch
from torch import Tensor

from gesso.backbones import Backbone, create_backbone
from gesso.functional.memory import free_memory, peak_memory
from gesso.functional.random import generator_for
from gesso.restorer import computes_in_bf16
from gesso.training.step_time import time_step

WINDOW = 1.0  # seconds that steps are timed for, after one that warms up
LEAST = 2  # steps that are timed, however long they take
MEMORY_SHARE = 0.5  # of the free memory that all processes together may take


def time_processes(question: Mapping[str, Any], numbers: Sequence[int], cores: int) -> dict[int, float]:
    """Seconds of a training step, by how many processes take steps at a time, which share the cores.

    Args:
        question: what is trained: `backbone`, `backbone_args`, `batch_size` and `crop_size`.
        numbers: of processes, rising from 1. Those that memory does not hold are left out.
        cores: that they share.
    """
    seconds: dict[int, float] = {}
    with Processes(question) as processes:
        for number in numbers:
            if seconds and number * processes.peak > MEMORY_SHARE * processes.free:
                break
            seconds[number] = processes.time(number, threads=max(1, cores // number))
    return seconds


class Processes:
    """Processes that each hold the network and time its steps when they are told to."""

    def __init__(self, question: Mapping[str, Any]) -> None:
        self.question = json.dumps(dict(question))
        self.started: list[subprocess.Popen[str]] = []
        self.free, self.peak = free_memory(), 0

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.started:
            process.kill()
            process.communicate()

    def time(self, number: int, threads: int) -> float:
        """The mean of the seconds that a step takes in each of `number` processes with so many threads."""
        while len(self.started) < number:
            words = [sys.executable, "-m", __spec__.name, self.question]
            self.started.append(
                subprocess.Popen(
                    words,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    encoding="utf-8",
                )
            )
        asked = self.started[:number]
        for process in asked:  # that are there: none is timed while another starts
            self.ask(process, 0)
        for process in asked:
            self.answer(process)
        for process in asked:
            self.ask(process, threads)
        answers = [self.answer(process) for process in asked]
        self.peak = max(self.peak, *(int(peak) for _, peak in answers))
        return sum(taken for taken, _ in answers) / number

    def ask(self, process: subprocess.Popen[str], threads: int) -> None:
        """Has a process time steps with so many threads; 0: answer only."""
        assert process.stdin is not None
        try:
            process.stdin.write(f"{threads}\n")
            process.stdin.flush()
        except BrokenPipeError:
            raise RuntimeError("a process that times steps has ended") from None

    def answer(self, process: subprocess.Popen[str]) -> tuple[float, float]:
        """Seconds of a step, and the most bytes that the process has had in use."""
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("a process that times steps has ended")
        seconds, peak = json.loads(line)
        return seconds, peak


def answer_questions(question: Mapping[str, Any]) -> Iterator[tuple[float, float]]:
    """What a process answers: for each number of threads on its input, seconds of a step and its peak in bytes."""
    network = create_backbone(question["backbone"], **(question["backbone_args"] or {})).train()
    side, device = question["crop_size"], torch.device("cpu")
    images = torch.rand(
        question["batch_size"], network.in_channels, side, side, generator=generator_for(0, "side by side")
    )
    for line in sys.stdin:
        seconds = 0.0
        if threads := int(line):
            torch.set_num_threads(threads)
            seconds = time_steps(network, images, autocast=computes_in_bf16(device))
        yield seconds, peak_memory(device)


def time_steps(network: Backbone, images: Tensor, *, autocast: bool) -> float:
    """The mean of the seconds of steps, over a while, after one that warms up."""
    time_step(network, images, autocast=autocast)
    began, count = time.perf_counter(), 0
    while count < LEAST or time.perf_counter() - began < WINDOW:
        time_step(network, images, autocast=autocast)
        count += 1
    return (time.perf_counter() - began) / count


@contextmanager
def own_output() -> Iterator[TextIO]:
    """The standard output of this process, kept from whatever else it prints."""
    answers, sys.stdout = sys.stdout, sys.stderr
    try:
        yield answers
    finally:
        sys.stdout = answers


def main() -> int:
    """Times steps of what the command line describes, for as long as it is asked."""
    with own_output() as answers:
        for answer in answer_questions(json.loads(sys.argv[1])):
            answers.write(f"{json.dumps(answer)}\n")
            answers.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())

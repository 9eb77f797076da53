"""What an editor underlines: pyright reads this file in `make check`, and complains where it would no longer do so."""
# pyright: reportUnnecessaryTypeIgnoreComment=true

from pathlib import Path
from typing import assert_type

import gesso


def call_wrongly() -> None:
    """Nobody calls this."""
    gesso.finetune(task="derain", out="x", stepz=3)  # pyright: ignore[reportCallIssue]
    gesso.finetune(task="derain", out="x", optimizer="sgd")  # pyright: ignore[reportArgumentType]
    gesso.finetune(task="derain", out="x", steps="3")  # pyright: ignore[reportArgumentType]
    gesso.pretrain()  # pyright: ignore[reportCallIssue]
    gesso.restore("in", "out", tile="large")  # pyright: ignore[reportArgumentType]
    assert_type(gesso.finetune(task="derain", out="x", steps=3), Path)
    assert gesso.evaluate(task="derain", data="x").exit_code == 0

"""The cost of naming many arrays one by one: each command takes time in proportion to the names, not to their square.

``make bench`` runs it. Each figure is the processor time of one call of the library, in one process.
"""

from __future__ import annotations

import contextlib
import gc
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

import paramctl

SIZES = (1_000, 10_000, 50_000)


def names_of(count: int) -> list[str]:
    return [f"layers.{number}.weight" for number in range(count)]


def separate(path: str, names: list[str]) -> None:
    """Write an array under each name."""
    save_file({name: np.ones((1,), "f4") for name in names}, path)


def tied(path: str, names: list[str]) -> None:
    """Write one array, and the other names tied to it."""
    separate(path, names)
    paramctl.save(paramctl.tie(path, names[0], names[1:]), path, force=True)


def document(path: str, names: list[str]) -> None:
    """Write a document with a layer for each name, and all of them tied."""
    lines = "".join(f"  - dense: {{units: 1, use_bias: false, name: d{number}}}\n" for number in range(len(names)))
    ties = "".join(f"  - {{keep: d0/kernel, tie: d{number}/kernel}}\n" for number in range(1, len(names)))
    Path(path).write_text(f"input: [1]\nlayers:\n{lines}ties:\n{ties}")


def dumped(path: str, names: list[str]) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        paramctl.dump(path, *names, format="csv")


def documents_names(names: list[str]) -> list[str]:
    return [f"d{number}/kernel" for number in range(len(names))]


CALLS: dict[str, tuple[Callable[[str, list[str]], None], Callable[[str, list[str]], object]]] = {
    "tie": (separate, lambda path, names: paramctl.save(paramctl.tie(path, names[0], names[1:]), path, force=True)),
    "untie": (tied, lambda path, names: paramctl.save(paramctl.untie(path, names[1:]), path, force=True)),
    "untie in a document": (
        document,
        lambda path, names: paramctl.untie(paramctl.load_model(path), documents_names(names)[1:]),
    ),
    "dump": (separate, dumped),
    "set": (separate, lambda path, names: paramctl.assign(path, dict.fromkeys(names, 0.5)).report),
    "--rename": (separate, lambda path, names: paramctl.rename(path, {name: f"new.{name}" for name in names})),
    "--rule": (separate, lambda path, names: paramctl.initialize(path, rules=[(name, "ones") for name in names])),
    "--dtype": (separate, lambda path, names: paramctl.convert(path, dtype=[f"{name}=float16" for name in names])),
}


def seconds(name: str, count: int) -> float:
    write, call = CALLS[name]
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/m.yaml" if write is document else f"{folder}/m.safetensors"
        names = names_of(count)
        write(path, names)
        begun = time.process_time()
        call(path, names)
        return time.process_time() - begun


if __name__ == "__main__":
    gc.disable()  # as the command line does
    print(f"\nNames given one by one: CPU seconds, and the cost of each name to that of {SIZES[0]:,}\n")
    print(
        "".join(
            f"{head:>20}"
            for head in ("", *(f"{count:,}" for count in SIZES), *(f"ratio {count:,}" for count in SIZES[1:]))
        )
    )
    for name in CALLS:
        costs = [seconds(name, count) for count in SIZES]
        each = [cost / count for cost, count in zip(costs, SIZES, strict=True)]
        print(
            f"{name:>20}" + "".join(f"{cost:20.3g}" for cost in (*costs, *(cost / each[0] for cost in each[1:]))),
            flush=True,
        )

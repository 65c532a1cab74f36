"""Names: many arrays named one by one, in time proportional to the names.

The peer is the same call with a fiftieth of the names, its time taken fifty times. Each figure is of one call of the
library, inside of its process.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import Bench
from measure import Row, Side
from proofs import text

TIMES = 50


def names_of(count: int) -> list[str]:
    return [f"layers.{number}.weight" for number in range(count)]


def separate(path: str, names: list[str]) -> None:
    """Write an array under each name, as safetensors has it."""
    header = {n: {"dtype": "F32", "shape": [1], "data_offsets": [4 * k, 4 * k + 4]} for k, n in enumerate(names)}
    begin = json.dumps(header).encode()
    begin += b" " * (-len(begin) % 8)
    Path(path).write_bytes(len(begin).to_bytes(8, "little") + begin + b"\0\0\x80\x3f" * len(names))


def tied(path: str, names: list[str]) -> None:
    """Write one array, and the other names tied to it."""
    separate(path, names)
    pc.save(pc.tie(path, names[0], names[1:]), path, force=True)


def document(path: str, names: list[str]) -> None:
    """Write a document with a layer for each name, and all of them tied."""
    lines = "".join(f"  - dense: {{units: 1, use_bias: false, name: d{number}}}\n" for number in range(len(names)))
    ties = "".join(f"  - {{keep: d0/kernel, tie: d{number}/kernel}}\n" for number in range(1, len(names)))
    Path(path).write_text(f"input: [1]\nlayers:\n{lines}ties:\n{ties}")


def tie(path: str, names: list[str]) -> int:
    pc.save(pc.tie(path, names[0], names[1:]), path, force=True)
    return len(pc.ties(path)) + 1


def untie(path: str, names: list[str]) -> int:
    pc.save(pc.untie(path, names[1:]), path, force=True)
    return len(names) - len(pc.ties(path))


def untie_document(path: str, names: list[str]) -> int:
    return len(names) - len(pc.ties(pc.untie(pc.load_model(path), [f"d{k}/kernel" for k in range(1, len(names))])))


def dump(path: str, names: list[str]) -> int:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        pc.dump(path, *names, format="csv")
    return printed.getvalue().count("\n") - 1


def assign(path: str, names: list[str]) -> int:
    return sum(row.changed for row in pc.assign(path, dict.fromkeys(names, 0.5)).report)


def rename(path: str, names: list[str]) -> int:
    return sum(name.startswith("new.") for name in pc.rename(path, {n: f"new.{n}" for n in names}))


def initialize(path: str, names: list[str]) -> int:
    return len(pc.initialize(path, rules=[(name, "ones") for name in names]))


def cast(path: str, names: list[str]) -> int:
    return len(pc.convert(path, dtype=[f"{name}=float16" for name in names]))


CALLS: dict[str, tuple[Callable[[str, list[str]], None], Callable[[str, list[str]], int]]] = {
    "tie": (separate, tie),
    "untie": (tied, untie),
    "untie in a document": (document, untie_document),
    "dump": (separate, dump),
    "set": (separate, assign),
    "--rename": (separate, rename),
    "--rule": (separate, initialize),
    "--dtype": (separate, cast),
}


def report(name: str, count: int) -> None:
    """Print the cost of one call, and the number of names that it worked on, in units of the smaller call's."""
    write, call = CALLS[name]
    gc.disable()  # as the command line does
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/m.yaml" if write is document else f"{folder}/m.safetensors"
        names = names_of(count)
        write(path, names)
        begun = time.process_time(), time.perf_counter()
        proof = call(path, names)
        cpu, elapsed = time.process_time() - begun[0], time.perf_counter() - begun[1]
    print(json.dumps({"cpu": cpu, "elapsed": elapsed, "proof": proof}))


def rows(bench: Bench) -> Iterator[Row]:
    count = bench.size(50_000, 100)
    for name in CALLS:
        command = [sys.executable, __file__, "--report", name]
        ours = Side("paramctl", [*command, str(count)], expected=count, reports=True)
        few = count // TIMES
        peer = f"{few:,} names, times {TIMES}"
        theirs = Side(peer, [*command, str(few)], expected=few, reports=True, scale=TIMES, at_least=True)
        yield Row(f"{name}, {count:,} names", ours, [theirs], text, {peer: 1.5})


if __name__ == "__main__" and sys.argv[1:2] == ["--report"]:
    import paramctl as pc

    report(sys.argv[2], int(sys.argv[3]))

"""Initialization: 100 million values drawn, written and synced, beside scripts, frameworks and the disk."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from bench import SAMPLES, Bench
from measure import Goal, Row, Side
from proofs import contains, file_size, written

LAYERS = 10
LEVEL = Goal(1.0, " of the CPU time")
NUMPY = """
import os
import h5py
import numpy as np
rng, n = np.random.default_rng(0), {width}
def kernel():
    {draw}
with h5py.File({out!r}, "w") as file:
    for k in range({layers}):
        file.create_dataset(f"dense_{{k}}/kernel", data=kernel())
os.fsync(os.open({out!r}, os.O_RDWR))
"""
DRAWN = {
    "normal": "return rng.standard_normal((n, n), dtype=np.float32) * np.float32((2 / n) ** 0.5)",
    "uniform": "return rng.uniform(-((3 / n) ** 0.5), (3 / n) ** 0.5, (n, n)).astype(np.float32)",
    "truncated": """x = rng.standard_normal((n, n), dtype=np.float32)
    while (beyond := np.abs(x) > 2).any():
        x[beyond] = rng.standard_normal(np.count_nonzero(beyond), dtype=np.float32)
    return x * np.float32((2 / n) ** 0.5 / 0.87962566103423978)""",
}
TORCH = """
import os
import torch
from safetensors.torch import save_file
from torch import nn
layers = nn.Sequential(*(nn.Linear({width}, {width}, bias=False) for _ in range({layers})))
for layer in layers:
    nn.init.kaiming_normal_(layer.weight)
save_file(layers.state_dict(), {out!r})
os.fsync(os.open({out!r}, os.O_RDWR))
"""
KERAS = """
import os
os.environ["KERAS_BACKEND"] = "torch"
import keras
model = keras.Sequential([keras.Input(({width},))])
for _ in range({layers}):
    drawn = keras.initializers.RandomNormal(stddev=(2 / {width}) ** 0.5)
    model.add(keras.layers.Dense({width}, use_bias=False, kernel_initializer=drawn))
path = {out!r}.removesuffix("h5") + "weights.h5"
model.save_weights(path)
os.rename(path, {out!r})
os.fsync(os.open({out!r}, os.O_RDWR))
"""


def rows(bench: Bench) -> Iterator[Row]:
    yield from drawn(bench)
    yield from constants(bench)
    yield from planned(bench)


def document(bench: Bench, width: int) -> str:
    path = bench.folder / "dense.yaml"
    path.write_text(f"input: [{width}]\nlayers:\n  - dense: {{units: {width}, use_bias: false, repeat: {LAYERS}}}\n")
    return str(path)


def drawn(bench: Bench) -> Iterator[Row]:
    width = bench.size(3162, 40)
    model, remove = document(bench, width), bench.remover("out.*")
    names = {"width": width, "layers": LAYERS}
    for kind in ("h5", "safetensors"):
        out = bench.path(f"out.{kind}")
        init = bench.ours("init", model, "--scheme", "kaiming_normal", "-o", out)
        script = NUMPY.format(draw=DRAWN["normal"], out=bench.path("out.h5"), **names)
        options = {"proof": written(bench.path("out.h5"), "drawn")}
        numpy = bench.script("NumPy and h5py script", script, "h5py", **options)
        code = (KERAS if kind == "h5" else TORCH).format(out=out, **names)
        needs = "keras torch h5py" if kind == "h5" else "torch safetensors"
        framework = bench.script("Keras script" if kind == "h5" else "torch script", code, needs)
        proof, words = written(out, "drawn"), f"init, 100 M normal values, {kind}"
        disk = plain_write(bench, 4 * LAYERS * width**2)
        goals: dict[str, Goal | list[Goal]] = {
            numpy.name: [Goal(0.6), LEVEL],
            framework.name: Goal(0.3),
            disk.name: Goal(1.5),
        }
        yield Row(words, init, [numpy, framework, disk], proof, goals, remove, tolerance(bench))
        goals = {numpy.name: LEVEL}
        yield Row(f"{words}, one core", one_core(init), [one_core(numpy)], proof, goals, remove, tolerance(bench))
    out = bench.path("out.h5")
    for scheme, law in (("he_normal", "truncated"), ("glorot_uniform", "uniform")):
        numpy = bench.script(f"NumPy script, {law}", NUMPY.format(draw=DRAWN[law], out=out, **names), "h5py")
        init = bench.ours("init", model, "--scheme", scheme, "-o", out)
        goals, proof = {numpy.name: [Goal(0.6), LEVEL]}, written(out, "drawn")
        yield Row(f"init, 100 M values, {scheme}, h5", init, [numpy], proof, goals, remove, tolerance(bench))
    remove()


def tolerance(bench: Bench) -> float:
    """Return how far the deviations of samples of one law may differ."""
    return bench.size(1e-3, 0.1)


def one_core(side: Side) -> Side:
    command = ["taskset", "-c", "0", *side.command]
    return Side(**(vars(side) | {"command": command})) if sys.platform == "linux" else side


def plain_write(bench: Bench, size: int) -> Side:
    """Return the disk's own speed: as many bytes written and synced by dd."""
    out, block = bench.path("out.raw"), 1 << 20
    dd = ["dd", "if=/dev/zero", f"of={out}", f"bs={block}", f"count={size // block or 1}", "conv=fsync"]
    command = ["sh", "-c", '"$@"; exit $?', "sh", *dd]  # dd closes its output first; this one ends with it
    expected = (size // block or 1) * block
    return Side("dd conv=fsync", command, proof=file_size(out), expected=expected, at_least=True)


def constants(bench: Bench) -> Iterator[Row]:
    width = bench.size(5000, 40)
    model, remove = document(bench, width), bench.remover("out.*")
    for kind in ("h5", "safetensors"):
        out = bench.path(f"out.{kind}")
        init = bench.ours(
            "init", model, "--scheme", "constant:1", "-o", out, expected=[([str(width)] * 2, 1.0, 0.0)] * LAYERS
        )
        peer = plain_write(bench, 4 * LAYERS * width**2)
        yield Row(f"init, 1 GB of ones, {kind}", init, [peer], written(out, "drawn"), {peer.name: 1.3}, remove)
    remove()


def planned(bench: Bench) -> Iterator[Row]:
    llama = str(SAMPLES / "llama3_8b.yaml")
    base = bench.script(
        "python -c pass", "print('nothing')", proof=contains("nothing"), expected=["nothing"], at_least=True
    )
    words = ["tokens", "normal"]
    yield Row(
        "init llama3_8b.yaml --dry-run",
        bench.ours("init", llama, "--dry-run", expected=words),
        [base],
        contains(*words),
    )

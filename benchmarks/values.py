"""The cost of values: a model of 100 million parameters, drawn and written, here and elsewhere; and one value of many.

``make bench`` runs it. Whole processes, measured in turn, each ending when its file is synced: so start-up counts, and
the disk too, whose own speed the plain writes show. The rows that compare with torch and Keras need an interpreter
that has them and safetensors, given as an argument. It needs 25 GB of disk, or leaves out what does not fit.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from measure import Cost, cost, side_by_side
from tabulate import tabulate

ROOT = Path(__file__).parent.parent
LLAMA = ROOT / "sample_models" / "llama3_8b.yaml"
PYTHON = sys.executable
PARAMCTL = str(Path(PYTHON).parent / "paramctl")
LAYERS, WIDTH = 10, 3162
RUNS = 5

NUMPY = """
import os, sys
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
    "standard_normal, float32": "return rng.standard_normal((n, n), dtype=np.float32) * np.float32((2 / n) ** 0.5)",
    "normal, to float32": "return rng.normal(0, (2 / n) ** 0.5, (n, n)).astype(np.float32)",
    "uniform, to float32": "return rng.uniform(-((3 / n) ** 0.5), (3 / n) ** 0.5, (n, n)).astype(np.float32)",
    "truncated, drawn again": """x = rng.standard_normal((n, n), dtype=np.float32)
    while (beyond := np.abs(x) > 2).any():
        x[beyond] = rng.standard_normal(np.count_nonzero(beyond), dtype=np.float32)
    return x * np.float32((2 / n) ** 0.5 / 0.87962566103423978)""",
    "ones": "return np.ones((n, n), np.float32)",
}

PLAIN_WRITE = """
import os
data = b"\\0\\0\\x80\\x3f" * (1 << 18)
with open({out!r}, "wb", buffering=0) as file:
    for _ in range({size} >> 20):
        file.write(data)
    file.write(data[: {size} % (1 << 20)])
    os.fsync(file)
"""

TORCH = """
import os
import torch
from safetensors.torch import save_file
from torch import nn
layers = nn.Sequential(*(nn.Linear({width}, {width}, bias=False) for _ in range({layers})))
for layer in layers:
    nn.init.{init}
save_file(layers.state_dict(), {out!r})
os.fsync(os.open({out!r}, os.O_RDWR))
"""

KERAS = """
import os
import keras
model = keras.Sequential([keras.Input(({width},))])
for _ in range({layers}):
    model.add(keras.layers.Dense({width}, use_bias=False, kernel_initializer={init!r}))
model.save_weights({out!r})
os.fsync(os.open({out!r}, os.O_RDWR))
"""

TORCH_LLAMA = """
import os, sys
import torch
from safetensors.torch import save_file
made = {{}}
def normal(name, *shape):
    made[name] = torch.empty(shape, dtype=torch.bfloat16).normal_(0, 0.02)
for k in range({depth}):
    for name, shape in dict(q=(4096, 4096), k=(4096, 1024), v=(4096, 1024), o=(4096, 4096),
                            gate=(4096, 14336), up=(4096, 14336), down=(14336, 4096)).items():
        normal(f"block.{{k}}.{{name}}", *shape)
    made[f"block.{{k}}.norm1"], made[f"block.{{k}}.norm2"] = (torch.ones(4096, dtype=torch.bfloat16) for _ in "ab")
made["norm"] = torch.ones(4096, dtype=torch.bfloat16)
normal("tokens", {vocabulary}, 4096)
normal("head", 4096, {vocabulary})
save_file(made, {out!r})
os.fsync(os.open({out!r}, os.O_RDWR))
"""

HEADS = ["paramctl", "against", "ours, s", "theirs, s", "ratio", "aim: at most", "ours, CPU s", "theirs, CPU s"]


class Bench:
    """A folder to write in, which is emptied before each run."""

    def __init__(self, folder: Path, peer: str | None) -> None:
        self.folder, self.peer = folder, peer
        self.out = {suffix: str(folder / f"out.{suffix}") for suffix in ("h5", "safetensors", "weights.h5", "raw")}

    def document(self, width: int = WIDTH, layers: int = LAYERS) -> str:
        path = self.folder / f"dense_{layers}_{width}.yaml"
        dense = f"  - dense: {{units: {width}, use_bias: false, repeat: {layers}}}\n"
        path.write_text(f"input: [{width}]\nlayers:\n{dense}")
        return str(path)

    def init(self, scheme: str, width: int = WIDTH, suffix: str = "h5", layers: int = LAYERS) -> list[str]:
        return [PARAMCTL, "init", self.document(width, layers), "--scheme", scheme, "-o", self.out[suffix]]

    def numpy(self, draw: str, width: int = WIDTH) -> list[str]:
        code = NUMPY.format(width=width, layers=LAYERS, draw=DRAWN[draw], out=self.out["h5"])
        return [PYTHON, "-c", code]

    def plain(self, size: int) -> list[str]:
        return [PYTHON, "-c", PLAIN_WRITE.format(size=size, out=self.out["raw"])]

    def torch(self, init: str, width: int = WIDTH) -> list[str]:
        code = TORCH.format(width=width, layers=LAYERS, init=init, out=self.out["safetensors"])
        return [str(self.peer), "-c", code]

    def keras(self, init: str, width: int = WIDTH) -> list[str]:
        code = KERAS.format(width=width, layers=LAYERS, init=init, out=self.out["weights.h5"])
        return [str(self.peer), "-c", code]

    def clear(self) -> None:
        for path in self.out.values():
            Path(path).unlink(missing_ok=True)
        os.sync()

    def room(self, gigabytes: float) -> bool:
        self.clear()
        return shutil.disk_usage(self.folder).free > gigabytes * 1e9

    def beside(self, *commands: list[str], runs: int = RUNS) -> list[Cost]:
        return side_by_side(*commands, runs=runs, before=self.clear)


def row(words: str, against: str, ours: Cost, theirs: Cost, most: float | None) -> tuple[object, ...]:
    ratio = ours.elapsed / theirs.elapsed
    return words, against, ours.elapsed, theirs.elapsed, ratio, most, ours.seconds, theirs.seconds


def against_numpy(bench: Bench) -> None:
    """Against a script of ten lines, with h5py."""
    rows = []
    for scheme, *peers in (
        ("he_normal", "truncated, drawn again", "standard_normal, float32"),
        ("glorot_uniform", "uniform, to float32"),
        ("kaiming_normal", "standard_normal, float32", "normal, to float32"),
        ("constant:1", "ones"),
    ):
        ours, *theirs = bench.beside(bench.init(scheme), *map(bench.numpy, peers))
        rows += [row(scheme, f"NumPy: {peer}", ours, cost_, 0.65) for peer, cost_ in zip(peers, theirs, strict=True)]
    show("100 million parameters, against NumPy and h5py", HEADS, rows)


def against_frameworks(bench: Bench) -> None:
    """Against whoever must build the model to have its weights."""
    rows = []
    for scheme, torch, keras in (
        ("he_normal", "trunc_normal_(layer.weight, 0, 0.025, -0.05, 0.05)", "he_normal"),
        ("glorot_uniform", "xavier_uniform_(layer.weight)", "glorot_uniform"),
        ("kaiming_normal", "kaiming_normal_(layer.weight)", "random_normal"),
    ):
        ours, theirs = bench.beside(bench.init(scheme, suffix="safetensors"), bench.torch(torch), runs=3)
        rows.append(row(f"{scheme}, safetensors", f"torch: {torch.partition('(')[0]}", ours, theirs, 0.3))
        ours, theirs = bench.beside(bench.init(scheme), bench.keras(keras), runs=3)
        rows.append(row(f"{scheme}, HDF5", f"Keras: {keras}", ours, theirs, 0.25))
    show("100 million parameters, against torch and Keras", HEADS, rows)


def against_the_disk(bench: Bench) -> None:
    """Constants against a plain write and sync of as many bytes."""
    rows = []
    for width, words in ((WIDTH, "0.4 GB"), (5_000, "1 GB")):
        commands = [bench.init("constant:1", width), bench.init("constant:1", width, "safetensors")]
        ours, ours_safetensors, theirs = bench.beside(*commands, bench.plain(LAYERS * width**2 * 4))
        rows.append(row(f"constant:1, {words}", "plain write", ours, theirs, 1.3))
        rows.append(row(f"constant:1, {words}, safetensors", "plain write", ours_safetensors, theirs, 1.3))
    show("Constants, against the disk", HEADS, rows)


def memory(bench: Bench) -> None:
    """The most memory held, at two sizes: ours does not grow."""
    rows = []
    for width, words in ((WIDTH, "0.4 GB"), (10_000, "4 GB")):
        if not bench.room(6):
            continue
        commands = {"paramctl": bench.init("kaiming_normal", width)}
        commands["NumPy"] = bench.numpy("standard_normal, float32", width)
        if bench.peer:
            commands["torch"] = bench.torch("kaiming_normal_(layer.weight)", width)
            commands["Keras"] = bench.keras("random_normal", width)
        for name, command in commands.items():
            used = cost(command, bench.clear)
            rows.append((words, name, used.megabytes, used.elapsed, used.seconds))
    show("Memory, plain normal values", ["file", "by", "MB at most", "s", "CPU s"], rows)


def llama(bench: Bench) -> None:
    """Llama 3 in bfloat16: what would be done, and a tenth of it done."""
    depth, vocabulary = 3, 16_032
    dry = [PARAMCTL, "init", str(LLAMA), "--dry-run"]
    start_up = [PARAMCTL, "--help"]
    tenth = [PARAMCTL, "init", str(LLAMA), "-D", f"depth={depth}", "-D", f"vocabulary={vocabulary}"]
    [used, base] = side_by_side(dry, start_up)
    rows = [row("init llama3_8b.yaml --dry-run", "paramctl --help", used, base, None)]
    commands = [[*tenth, "-o", bench.out["safetensors"]], [*tenth, "-o", bench.out["h5"]]]
    if bench.peer:
        code = TORCH_LLAMA.format(depth=depth, vocabulary=vocabulary, out=bench.out["safetensors"])
        commands.append([bench.peer, "-c", code])
    commands.append(bench.plain(0))
    done = bench.beside(*commands[:-1], runs=3)
    size = int(_size(bench, commands[0]))
    [plain] = bench.beside(bench.plain(size), runs=3)
    for words, ours in zip(("safetensors", "HDF5"), done, strict=False):
        if bench.peer:
            rows.append(row(f"a tenth of it, {words}", "torch: normal_, bfloat16", ours, done[-1], 0.3))
        rows.append(row(f"a tenth of it, {words}", f"plain write of {size / 1e9:.2f} GB", ours, plain, None))
    show("Llama 3 8B, bfloat16", HEADS, rows)


def _size(bench: Bench, command: list[str]) -> int:
    cost(command, bench.clear)
    return Path(command[-1]).stat().st_size


def one_of_many(bench: Bench) -> None:
    """One value of a file of 10 GB, and a few of a parameter of as many that is not drawn yet."""
    width = 50_000
    if not bench.room(12):
        print("\nskipped: a file of 10 GB, for want of room")
        return
    document = bench.document(width, 1)
    address, few = "dense/kernel[40000, 7]", "dense/kernel[40000, :5]"
    [start_up, numpy] = side_by_side([PARAMCTL, "--help"], [PYTHON, "-c", "import numpy"])
    base = Cost(start_up.seconds + numpy.seconds, 0.0, start_up.elapsed + numpy.elapsed)
    rows: list[tuple[object, ...]] = []

    def ask(source: str, name: str) -> None:
        for words in (address, few):
            [used] = side_by_side([PARAMCTL, "dump", source, words])
            words = f"dump {name} '{words}'"
            rows.append((*row(words, "--help and NumPy's start-up", used, base, 1.5), used.megabytes))

    for suffix in ("h5", "safetensors"):
        written = cost(bench.init("constant:1", width, suffix, 1), bench.clear)
        print(f"\n10 GB as {suffix}: {written.elapsed:.1f} s, {written.megabytes:.0f} MB of memory")
        ask(bench.out[suffix], f"10GB.{suffix}")
        bench.clear()
    ask(document, "10GB.yaml")
    show("A value of 2.5 billion", [*HEADS, "ours, MB"], rows)


def show(title: str, headers: list[str], rows: list[tuple[object, ...]]) -> None:
    print(f"\n{title}\n\n{tabulate(rows, headers, floatfmt='.3g')}", flush=True)


@contextmanager
def folder() -> Iterator[Path]:
    """On the disk that TMPDIR says, and empty afterwards."""
    with tempfile.TemporaryDirectory(prefix="paramctl-bench-") as made:
        yield Path(made)


if __name__ == "__main__":
    with folder() as here:
        on_disk = Bench(here, sys.argv[1] if len(sys.argv) > 1 else None)
        against_the_disk(on_disk)
        against_numpy(on_disk)
        if on_disk.peer:
            against_frameworks(on_disk)
        else:
            print("\nskipped: torch and Keras (give the path of a Python that has them)")
        memory(on_disk)
        llama(on_disk)
        one_of_many(on_disk)

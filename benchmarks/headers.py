"""Headers: the arrays of a checkpoint listed, and one array of them printed."""

from __future__ import annotations

from collections.abc import Iterator

from bench import SAMPLES, Bench
from checkpoint_files import MAKE, gigabyte
from measure import Goal, Row, Side
from proofs import arrays, contains, numbers, total, tree

VISIT = """
import h5py
def show(name, item):  # without a result: a visit ends at the first that is not None
    if isinstance(item, h5py.Dataset):
        print(name, item.shape, item.dtype)
with h5py.File({path!r}) as file:
    file.visititems(show)
"""
HEADER = """
import json
with open({path!r}, "rb") as file:
    header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
for name, entry in header.items():
    if name != "__metadata__":
        print(name, tuple(entry["shape"]), entry["dtype"])
"""
SLICES = """
from safetensors import safe_open
with safe_open({path!r}, "numpy") as file:
    for name in file.keys():
        part = file.get_slice(name)
        print(name, tuple(part.get_shape()), part.get_dtype())
"""
KERAS = """
import os
os.environ["KERAS_BACKEND"] = "torch"
import keras
keras.saving.KerasFileEditor({path!r}).summary()
"""
DUMP = {
    "h5": "import h5py; print(h5py.File({path!r})[{name!r}][()])",
    "safetensors": "from safetensors import safe_open; print(safe_open({path!r}, 'numpy').get_tensor({name!r}))",
}
TORCH = "from safetensors.torch import load_file; print(load_file({path!r})[{name!r}].numpy())"


def rows(bench: Bench) -> Iterator[Row]:
    for count in bench.size((2_000, 20_000), (6,)):
        yield from lists(bench, count)
    yield from dumps(bench)


def lists(bench: Bench, count: int) -> Iterator[Row]:
    stem = f"n{count}"
    bench.make(MAKE, count // 2, 3, 8, stem)
    path = bench.path(f"{stem}.h5")
    h5ls = bench.tool("h5ls -r", "h5ls", "-r", path, package="Debian: hdf5-tools")
    start = small(bench, "summary", prints="Total parameters:  25")
    goals = {h5ls.name: Goal(1.0)} if count == 20_000 else {start.name: Goal(0.1, " s more")}
    yield Row(f"summary, HDF5, {count:,} arrays", bench.ours("summary", path), [h5ls, start], total, goals)
    glance = bench.tool("h5glance", "h5glance", path, package="PyPI: h5glance", proof=tree)
    visit = bench.script("h5py, visititems", VISIT.format(path=path), "h5py")
    ours = bench.ours("summary", path, "--parameters")
    yield Row(f"summary --parameters, HDF5, {count:,} arrays", ours, [h5ls, visit, glance], arrays)
    path = bench.path(f"{stem}.safetensors")
    peers = [
        bench.script("json script", HEADER.format(path=path)),
        bench.script("safetensors script", SLICES.format(path=path), "safetensors"),
        bench.tool("sft tree", "sft", "tree", path, package="PyPI: sft-cli"),
    ]
    ours = bench.ours("summary", path, "--parameters")
    goals = {peers[0].name: Goal(2.0)} if count == 20_000 else {}
    yield Row(f"summary --parameters, safetensors, {count:,} arrays", ours, peers, arrays, goals)


def small(bench: Bench, *arguments: str, prints: str) -> Side:
    """Return the least that a command takes: the same command for a small document."""
    command = bench.ours(arguments[0], str(SAMPLES / "mlp.yaml"), *arguments[1:]).command
    name = f"{arguments[0]} of mlp.yaml"
    return Side(name, command, contains(prints), [prints], at_least=True)


def dumps(bench: Bench) -> Iterator[Row]:
    name = f"layers/dense_{bench.size(7, 1)}/bias"
    for files in gigabyte(bench):
        peers = [bench.script(f"{files.needs} script", DUMP[files.kind].format(path=files.a, name=name), files.needs)]
        if files.kind == "h5":
            h5dump = ["-y", "-w", "0", "-m", "%.9g", "-d", f"/{name}", files.a]
            peers.append(bench.tool("h5dump", "h5dump", *h5dump, package="Debian: hdf5-tools", proof=h5dump_numbers))
        else:
            peers.append(bench.script("torch script", TORCH.format(path=files.a, name=name), "torch safetensors"))
        start = small(bench, "dump", "dense_1/bias", prints="[0.]")
        ours = bench.ours("dump", files.a, name)
        yield Row(f"dump one array of 1 GB, {files.kind}", ours, [*peers, start], numbers, {start.name: 1.1})


def h5dump_numbers(stdout):  # type: ignore[no-untyped-def]
    printed = stdout.read().decode()
    return [float(word) for word in printed.rpartition("DATA {")[2].partition("}")[0].replace(",", " ").split()]

"""Conversions: 1 GB in another format and 0.4 GB in another layout, written to the disk and synced."""

from __future__ import annotations

from collections.abc import Iterator

from bench import Bench
from checkpoint_files import OPEN, gigabyte
from measure import Row
from proofs import written

WRITE = {
    "h5": """
import os, h5py
names, get = opened({a!r})
with h5py.File({out!r}, "w") as file:
    for name in names:
        file[name] = get(name)
os.fsync(os.open({out!r}, os.O_RDWR))
""",
    "safetensors": """
import os
from safetensors.numpy import save_file
names, get = opened({a!r})
save_file({{name: get(name) for name in names}}, {out!r})
os.fsync(os.open({out!r}, os.O_RDWR))
""",
}
TORCH = {
    "h5": """
import os, h5py
from safetensors.torch import load_file
with h5py.File({out!r}, "w") as file:
    for name, array in load_file({a!r}).items():
        file[name] = array.numpy()
os.fsync(os.open({out!r}, os.O_RDWR))
""",
    "safetensors": """
import os, torch
from safetensors.torch import save_file
names, get = opened({a!r})
save_file({{name: torch.from_numpy(get(name)) for name in names}}, {out!r})
os.fsync(os.open({out!r}, os.O_RDWR))
""",
}
TURN = {
    "NumPy script": """
import os
import numpy as np
from safetensors.numpy import load_file, save_file
arrays = load_file({a!r})
save_file({{"dense.weight": np.ascontiguousarray(arrays["dense/kernel"].T)}}, {out!r})
os.fsync(os.open({out!r}, os.O_RDWR))
""",
    "torch script": """
import os
from safetensors.torch import load_file, save_file
save_file({{"dense.weight": load_file({a!r})["dense/kernel"].t().contiguous()}}, {out!r})
os.fsync(os.open({out!r}, os.O_RDWR))
""",
}


def rows(bench: Bench) -> Iterator[Row]:
    remove = bench.remover("out.*")
    for files in gigabyte(bench):
        kind = "h5" if files.kind == "safetensors" else "safetensors"
        names = {"a": files.a, "out": bench.path(f"out.{kind}")}
        script = OPEN[files.kind] + WRITE[kind].format(**names)
        torch = ("" if kind == "h5" else OPEN[files.kind]) + TORCH[kind].format(**names)
        peers = [
            bench.script("NumPy script", script, "h5py safetensors"),
            bench.script("torch script", torch, "h5py safetensors torch"),
        ]
        ours = bench.ours("save", files.a, "-o", names["out"])
        yield Row(f"save 1 GB, {files.kind} to {kind}", ours, peers, written(names["out"], "exact"), before=remove)
    yield turned(bench)
    remove()


def turned(bench: Bench) -> Row:
    """Return the row of one matrix, whose transpose touches more memory than anything else in a layout."""
    width = bench.size(10_000, 30)
    document = bench.folder / "wide.yaml"
    document.write_text(f"input: [{width}]\nlayers:\n  - dense: {{units: {width}, use_bias: false}}\n")
    names = {"a": bench.path("wide.safetensors"), "out": bench.path("out.safetensors")}
    bench.run(bench.ours("save", str(document), "-o", names["a"], "--force"))
    peers = [
        bench.script(name, code.format(**names), "safetensors torch" if "torch" in name else "safetensors")
        for name, code in TURN.items()
    ]
    ours = bench.ours("save", names["a"], "--layout", "torch", "-o", names["out"])
    proof = written(names["out"], "exact")
    return Row("save 0.4 GB --layout torch", ours, peers, proof, before=bench.remover("out.*"))

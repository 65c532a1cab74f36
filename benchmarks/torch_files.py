"""PyTorch files: 10,000 tensors listed, and 1 GB summarized and converted, here and by torch."""

from __future__ import annotations

from collections.abc import Iterator

from bench import Bench
from measure import Row
from proofs import arrays, written

MAKE = """
import sys, torch
many = {f"layers.{k}.weight": torch.randn(16, 16) for k in range(int(sys.argv[1]))}
torch.save(many, "many.pt")
torch.save(many, "old.pt", _use_new_zipfile_serialization=False)
torch.save({"model": {f"layers.{k}.weight": torch.randn(1000, 1000) for k in range(int(sys.argv[2]))}}, "large.pt")
"""
LIST = """
import torch
loaded = torch.load({path!r}, mmap={mmap})
for name, tensor in loaded.get("model", loaded).items():
    print(name, tuple(tensor.shape), tensor.dtype)
"""
CONVERT = """
import os, torch
from safetensors.torch import save_file
save_file(torch.load({path!r})["model"], {out!r})
os.fsync(os.open({out!r}, os.O_RDWR))
"""


def rows(bench: Bench) -> Iterator[Row]:
    bench.require("torch")
    bench.make(MAKE, bench.size(10_000, 5), bench.size(250, 2))
    for words, name in (
        ("10,000 tensors, zip", "many.pt"),
        ("10,000 tensors, legacy", "old.pt"),
        ("1 GB", "large.pt"),
    ):
        path = bench.path(name)
        code = LIST.format(path=path, mmap=name != "old.pt")
        ours = bench.ours("summary", path, "--parameters")
        yield Row(f"summary --parameters, {words}", ours, [bench.script("torch.load", code, "torch")], arrays)
    names = {"path": bench.path("large.pt"), "out": bench.path("out.safetensors")}
    torch = bench.script("torch script", CONVERT.format(**names), "torch safetensors")
    ours = bench.ours("save", names["path"], "-o", names["out"])
    proof = written(names["out"], "exact")
    yield Row("save 1 GB as safetensors", ours, [torch], proof, before=bench.remover("out.*"))

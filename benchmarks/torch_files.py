"""The cost of files of torch: 10,000 tensors opened, and 1 GB summarized and converted, here and by torch.

An interpreter that has torch and safetensors is the argument. PARAMCTL_GIGABYTES is the size of the large file, 1 by
default. Processes run in turn, on files that are in memory.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from measure import side_by_side
from tabulate import tabulate

PYTHON = sys.executable
SIZE = float(os.environ.get("PARAMCTL_GIGABYTES", "1"))
RUNS = 3

MAKE = """
import sys, torch
many = {f"layers.{k}.weight": torch.randn(16, 16) for k in range(10_000)}
torch.save(many, "many.pt")
torch.save(many, "old.pt", _use_new_zipfile_serialization=False)
count = int(float(sys.argv[1]) * 1e9 / 4_000_000)
torch.save({"model": {f"layers.{k}.weight": torch.randn(1000, 1000) for k in range(count)}}, "large.pt")
"""
OURS = "import paramctl, time; t = time.perf_counter(); paramctl.open('{file}'); print(time.perf_counter() - t)"
TORCH = "import torch, time; t = time.perf_counter(); torch.load('{file}'); print(time.perf_counter() - t)"
SUMMARY = """
import torch
for name, tensor in torch.load("large.pt", mmap=True)["model"].items():
    print(name, tensor.shape, tensor.dtype)
"""
CONVERT = """
import torch
from safetensors.torch import save_file
save_file(torch.load("large.pt")["model"], "x.safetensors")
"""


def seconds(python: str, code: str, folder: str) -> float:
    """Return the least time that a piece of code prints."""
    results = [subprocess.check_output([python, "-c", code], cwd=folder, text=True) for _ in range(RUNS)]
    return min(map(float, results))


def main() -> None:
    peer = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        subprocess.run([peer, "-c", MAKE, str(SIZE)], check=True, cwd=folder)
        rows: list[list[object]] = [
            [
                f"open {file}",
                seconds(PYTHON, OURS.format(file=file), folder),
                seconds(peer, TORCH.format(file=file), folder),
            ]
            for file in ("many.pt", "old.pt", "large.pt")
        ]
        for words, ours, theirs in (
            ("summary large.pt", ["summary", "large.pt"], SUMMARY),
            ("save large.pt as safetensors", ["save", "large.pt", "-o", "x.safetensors", "--force"], CONVERT),
        ):
            commands = [[PYTHON, "-m", "paramctl", *ours], [peer, "-c", theirs]]
            rows.append([words, *(cost.elapsed for cost in side_by_side(*commands, runs=RUNS))])
    print(tabulate(rows, ["", "paramctl, s", "torch, s"], floatfmt=".2f"))


if __name__ == "__main__":
    main()

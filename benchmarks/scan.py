"""Passes over values: 1 GB in 2,000 arrays summarized by statistics, checked, and compared with another."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import IO

from bench import Bench, differs
from checkpoint_files import OPEN, Files, gigabyte
from measure import Row
from proofs import contains, statistics, table, text

STAT = """
names, get = opened({a!r})
for name in names:
    x = get(name)
    figures = x.mean(dtype=np.float64), x.std(dtype=np.float64), x.min(), x.max()
    print(name, x.size, *(f"{{figure:.4g}}" for figure in figures))
"""
DIFF = """
names, a = opened({a!r})
_, b = opened({b!r})
for name in names:
    x, y = a(name), b(name)
    if not np.array_equal(x, y):
        print(name, np.count_nonzero(x != y), f"{{np.abs(x - y).max():.4g}}")
"""
TORCH = """
import torch
from safetensors import safe_open
a, b = (safe_open(path, "pt") for path in ({a!r}, {b!r}))
for name in a.keys():
    x, y = a.get_tensor(name), b.get_tensor(name)
    if not torch.equal(x, y):
        print(name, int((x != y).sum()), f"{{float((x - y).abs().max()):.4g}}")
"""
FINITE = """
names, get = opened({a!r})
bad = sum(not np.isfinite(get(name)).all() for name in names)
print(f"0 errors: {{len(names):,}} arrays" if not bad else bad)
"""


def rows(bench: Bench) -> Iterator[Row]:
    for files in gigabyte(bench):
        words = f"1 GB, {files.kind}"
        script = OPEN[files.kind] + STAT.format(a=files.a)
        peers = [bench.cat(files.a), bench.script("NumPy script", script, files.needs)]
        yield Row(f"stat {words}", bench.ours("stat", files.a), peers, statistics, {"cat": 3.0})
        script = OPEN[files.kind] + FINITE.format(a=files.a)
        count = [f"{2 * files.layers:,} arrays"]
        ours = differs(bench.ours("check", files.a, expected=count))
        peers = [bench.cat(files.a), bench.script("NumPy isfinite", script, files.needs, at_least=True)]
        yield Row(f"check {words}", ours, peers, contains(*count))
        yield diff(bench, files, words)
        bench.make("import shutil, sys; shutil.copy(*sys.argv[1:])", files.a, f"same.{files.kind}")
        same = bench.path(f"same.{files.kind}")
        ours = differs(bench.ours("diff", files.a, same, expected=[f"{2 * files.layers:,} arrays compared"]))
        proof = contains(f"{2 * files.layers:,} arrays compared")
        yield Row(f"diff {words}, equal", ours, [bench.cat(files.a, same)], proof, {"cat": 2.5})


def diff(bench: Bench, files: Files, words: str) -> Row:
    pair = {"a": files.a, "b": files.other}
    peers = [
        bench.cat(*pair.values()),
        bench.script("NumPy script", OPEN[files.kind] + DIFF.format(**pair), files.needs),
    ]
    if files.kind == "h5":
        options = {"package": "Debian: hdf5-tools", "proof": h5diff_facts, "expected": [(n, 1) for n in files.names]}
        peers.append(differs(bench.tool("h5diff", "h5diff", *pair.values(), **options)))
    else:
        peers.append(bench.script("torch script", TORCH.format(**pair), "torch safetensors"))
        options = {"package": "PyPI: sft-cli", "proof": sft_names, "expected": files.names}
        peers.append(differs(bench.tool("sft diff --delta", "sft", "diff", "--delta", *pair.values(), **options)))
    ours = differs(bench.ours("diff", *pair.values()))
    return Row(f"diff {words}, one value of each array", ours, peers, table(2), {"cat": 2.5, "h5diff": 1.0})


def h5diff_facts(stdout: IO[bytes]) -> list[tuple[str, int]]:
    found = re.findall(r"dataset: </(\S+)> and .*\n(\d+) differences found", text(stdout))
    return sorted((name, int(count)) for name, count in found)


def sft_names(stdout: IO[bytes]) -> list[str]:
    return sorted(re.findall(r"^differ\s+(layers/\S+)", text(stdout), re.MULTILINE))

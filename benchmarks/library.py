"""The library: its functions in a plain Python process, beside the commands, which set the threads of OpenBLAS."""

from __future__ import annotations

from collections.abc import Iterator

from bench import Bench, differs
from checkpoint_files import gigabyte
from measure import Row, Side
from proofs import statistics, table

UNSET: dict[str, str | None] = {"OPENBLAS_NUM_THREADS": None, "OMP_NUM_THREADS": None}
STAT = """
import paramctl as pc
for row in pc.stat({a!r}).rows:
    print(row.path, row.size, *(f"{{x:.4g}}" for x in (row.mean, row.stddev, row.min, row.max)))
"""
DIFF = """
import paramctl as pc
for row in pc.diff({a!r}, {b!r}).rows:
    print(row.path, row.different, f"{{row.max_abs:.4g}}")
"""


def rows(bench: Bench) -> Iterator[Row]:
    for files in gigabyte(bench):
        for name, code, arguments, proof in (
            ("stat", STAT.format(a=files.a), [files.a], statistics),
            ("diff", DIFF.format(a=files.a, b=files.other), [files.a, files.other], table(2)),
        ):
            command = differs(bench.ours(name, *arguments))
            peer = Side(**(vars(command) | {"name": "the command"}))
            ours = Side("paramctl", bench.script("", code).command, environment=UNSET)
            yield Row(f"pc.{name}, 1 GB, {files.kind}", ours, [peer], proof, {peer.name: 1.0})

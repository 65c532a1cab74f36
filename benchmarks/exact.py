"""Frameworks' own values: what their generators draw, beside the frameworks themselves with one thread."""

from __future__ import annotations

from collections.abc import Iterator

from bench import Bench
from measure import Goal, Row, Side
from proofs import text

BLOCK = 1 << 18
OURS = """
from paramctl.init.distributions import Normal, Uniform
from paramctl.init.engines.base import DrawRequest
from paramctl.init.engines.torch_mt import TorchEngine
import numpy as np
request = DrawRequest({law}, ({size},), np.dtype("float32"))
draws = TorchEngine(fused={fused}).start(0, {{"w": request}})
def draw(block):
    return draws.draw("w", block)
"""
TORCH = """
import torch
torch.set_num_threads(1)
torch.manual_seed(0)
def draw(block):
    return torch.empty({block}).{call}.numpy()
"""
REPORT = """
import gc, json, time, zlib
gc.disable()
begun, crc = (time.process_time(), time.perf_counter()), 0
for block in range({blocks}):
    values = draw(block)
    if block in (0, {blocks} - 1):
        crc = zlib.crc32(values, crc)
cpu, elapsed = time.process_time() - begun[0], time.perf_counter() - begun[1]
print(json.dumps({{"cpu": cpu, "elapsed": elapsed, "proof": crc}}))
"""
LEVEL = Goal(1.0, limit="The words of MT19937 take most of the time, and NumPy draws them as torch does.")
WITHIN_3 = Goal(
    3.0,
    limit="About 115 passes over arrays: each of torch's float32 roundings is a float64 operation and a cast in NumPy.",
)
LAWS = (
    ("uniform values", "Uniform(-0.1, 0.1)", "uniform_(-0.1, 0.1)", LEVEL),
    ("normal values", "Normal(0, 0.02)", "normal_(0, 0.02)", WITHIN_3),
)
"""The name of a row, paramctl's law, torch's call, and the goal."""


def rows(bench: Bench) -> Iterator[Row]:
    blocks = bench.size(200, 2)
    for words, law, call, goal in LAWS:
        for fused in (True, False):
            numbers = {"law": law, "call": call, "blocks": blocks, "block": BLOCK, "size": blocks * BLOCK}
            environment = {"ATEN_CPU_CAPABILITY": None if fused else "default"}
            ours = side(bench, "paramctl", (OURS + REPORT).format(fused=fused, **numbers), "")
            torch = side(bench, "torch", (TORCH + REPORT).format(**numbers), "torch", environment)
            name = f"{blocks * BLOCK / 1e6:.0f} M {words} of torch{'' if fused else ', without FMA'}"
            yield Row(name, ours, [torch], text, {torch.name: goal})


def side(bench: Bench, name: str, code: str, needs: str, environment: dict[str, str | None] | None = None) -> Side:
    """Return a script that reports the cost of its draws, without that of its imports."""
    return bench.script(name, code, needs, reports=True, environment=environment or {})

"""Documents of many layers: beside the parser alone, and beside frameworks that build the same network."""

from __future__ import annotations

from collections.abc import Iterator

from bench import Bench
from measure import Goal, Row
from proofs import text, total

YAML = """
import yaml
with open({path!r}) as file:
    print(len(yaml.load(file, yaml.CSafeLoader)["layers"]))
"""
KERAS = """
import os, sys
os.environ["KERAS_BACKEND"] = "torch"
sys.setrecursionlimit(100_000)  # Keras follows the layers by recursion
import keras
layers = [keras.layers.Dense(4, activation="relu") for _ in range({count})]
keras.Sequential([keras.Input((4,)), *layers]).summary()
"""
TORCHINFO = """
import torchinfo
from torch import nn
layers = [part for _ in range({count}) for part in (nn.Linear(4, 4), nn.ReLU())]
torchinfo.summary(nn.Sequential(*layers), (1, 4), verbose=1)
"""


def rows(bench: Bench) -> Iterator[Row]:
    for count in bench.size((1_000, 50_000), (10, 20)):
        path = bench.path(f"{count}.yaml")
        with open(path, "w") as file:
            file.write("input: [4]\nlayers:\n" + "  - dense: {units: 4, activation: relu}\n" * count)
        loader = {"proof": text, "expected": str(count), "at_least": True}
        peers = [bench.script("yaml.CSafeLoader alone", YAML.format(path=path), "yaml", **loader)]
        if count <= 1_000:
            peers.append(bench.script("Keras", KERAS.format(count=count), "keras torch"))
            peers.append(bench.script("torchinfo", TORCHINFO.format(count=count), "torchinfo torch"))
        ours = bench.ours("summary", path, expected=20 * count)
        goals = {peers[0].name: Goal(4.0, " s")} if count == 50_000 else {}
        yield Row(f"summary, {count:,} dense layers", ours, peers, total, goals)

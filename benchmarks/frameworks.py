"""Summaries: the same networks summarized by frameworks, which build them first."""

from __future__ import annotations

from collections.abc import Iterator

from bench import SAMPLES, Bench
from measure import Row
from proofs import total

START = "import os\nos.environ['KERAS_BACKEND'] = 'torch'\n"
KERAS_MLP = """
import keras
from keras import layers
keras.Sequential([keras.Input((4,)), layers.Flatten(), layers.Dense(4, activation="relu"), layers.Dense(1)]).summary()
"""
KERAS_RESNET50 = "import keras; keras.applications.ResNet50(weights=None).summary()"
TORCHINFO_MLP = """
import torchinfo
from torch import nn
torchinfo.summary(nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1)), (2, 4), verbose=1)
"""
TORCHINFO_LENET = """
import torchinfo
from torch import nn
torchinfo.summary(nn.Sequential(
    nn.Conv2d(1, 6, 5, padding=2), nn.Sigmoid(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Sigmoid(), nn.AvgPool2d(2),
    nn.Flatten(), nn.Linear(400, 120), nn.Sigmoid(), nn.Linear(120, 84), nn.Sigmoid(), nn.Linear(84, 10),
), (1, 1, 28, 28), verbose=1)
"""


def rows(bench: Bench) -> Iterator[Row]:
    for name, peers in (
        ("mlp", {"Keras": KERAS_MLP, "torchinfo": TORCHINFO_MLP}),
        ("lenet", {"torchinfo": TORCHINFO_LENET}),
        ("resnet50", {"Keras": KERAS_RESNET50}),
    ):
        sides = [
            bench.script(peer, START + code, "keras torch" if peer == "Keras" else "torchinfo torch")
            for peer, code in peers.items()
        ]
        yield Row(f"summary {name}.yaml", bench.ours("summary", str(SAMPLES / f"{name}.yaml")), sides, total)

"""The cost of facts: start-up, and the summary of small and large models, here and elsewhere.

``make bench`` runs it. Every figure is a ratio of whole processes measured in turn in one run. The
rows that compare with Keras and torchinfo need an interpreter that has them, given as an argument.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from measure import side_by_side
from tabulate import tabulate

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "sample_models"
PYTHON = sys.executable
PARAMCTL = str(Path(PYTHON).parent / "paramctl")

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


def summary_of(name: str) -> list[str]:
    return [PARAMCTL, "summary", str(SAMPLES / f"{name}.yaml")]


def start_up() -> None:
    """Against importing what the command cannot do without."""
    click = [PYTHON, "-c", "import click"]
    libraries = [PYTHON, "-c", "import click, yaml, tabulate"]
    rows = []
    for command, base, most in (
        ([PARAMCTL, "--help"], click, 1.5),
        (summary_of("mlp"), libraries, 2),
        (summary_of("llama3_8b"), libraries, 2),
    ):
        ours, theirs = side_by_side(command, base, runs=15)
        words = " ".join(Path(word).name if "/" in word else word for word in command)
        rows.append((words, base[2], ours.seconds, theirs.seconds, ours.seconds / theirs.seconds, most))
    show("Start-up, CPU seconds", ["paramctl", "against", "ours", "theirs", "ratio", "aim: at most"], rows)


def growth() -> None:
    """A document of many layers takes time in proportion."""
    with tempfile.TemporaryDirectory() as folder:
        commands, counts = [], (1_000, 10_000, 50_000)
        for count in counts:
            path = Path(folder) / f"{count}.yaml"
            path.write_text("input: [4]\nlayers:\n" + "  - dense: {units: 4, activation: relu}\n" * count)
            commands.append([PARAMCTL, "summary", str(path)])
        costs = side_by_side(*commands, runs=3)
    rows = [(n, c.seconds, 1e6 * c.seconds / n, c.megabytes) for n, c in zip(counts, costs, strict=True)]
    show("A document of many layers", ["layers", "CPU seconds", "microseconds each", "MB"], rows)


def elsewhere(python: str) -> None:
    """The same networks summarized by those who must build them first."""
    rows = []
    for name, peer, code in (
        ("mlp", "Keras", KERAS_MLP),
        ("resnet50", "Keras", KERAS_RESNET50),
        ("mlp", "torchinfo", TORCHINFO_MLP),
        ("lenet", "torchinfo", TORCHINFO_LENET),
    ):
        ours, theirs = side_by_side(summary_of(name), [python, "-c", code], runs=3)
        ratio, memory = theirs.seconds / ours.seconds, theirs.megabytes / ours.megabytes
        rows.append((name, peer, ours.seconds, theirs.seconds, ratio, ours.megabytes, theirs.megabytes, memory))
    heads = ["model", "peer", "ours, s", "theirs, s", "theirs / ours", "ours, MB", "theirs, MB", "theirs / ours"]
    show("The same networks elsewhere, CPU seconds and memory", heads, rows)


def show(title: str, headers: list[str], rows: list[tuple[object, ...]]) -> None:
    print(f"\n{title}\n\n{tabulate(rows, headers, floatfmt='.3g')}", flush=True)


if __name__ == "__main__":
    start_up()
    growth()
    if len(sys.argv) > 1:
        elsewhere(sys.argv[1])
    else:
        print("\nskipped: Keras and torchinfo (give the path of a Python that has them)")

"""The cost of forward passes, here and by torch, with the same arrays and the same outputs.

``make bench`` runs it, by an interpreter that has torch. Each row is a process with one or two processors, in which
both sides compute in turn: torch with as many threads, and paramctl with one, as its command does. The least processor
time of several runs counts, because other programs disturb the rest. Memory is what a process of its own holds at most
beyond its state before the pass.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tabulate import tabulate

SAMPLES = Path(__file__).parent.parent / "sample_models"
RUNS = {1: 9, 32: 3}
"""The least number of runs, by batch."""
LEAST_SECONDS = 2.0
"""The runs of both sides take at least this long, because the least of a few short ones is not yet the least."""
AIMS = {1: 1.5, 32: 3.0}
MEMORY_AIM = 2.0
SIDES = ("ours", "torch")
IMAGES = {"lenet": (28, 28, 1), "resnet50": (224, 224, 3)}
TOKENS = 128
SIZES: dict[str, dict[str, int]] = {
    "lstm_classifier": {"vocabulary": 1000},
    "gpt2": {"vocabulary": 1000, "context": TOKENS},
}
"""The models of texts, which are TOKENS long, and their variables."""


def ours(name: str, batch: int) -> Callable[[], Any]:
    """Return the pass by paramctl, as ``paramctl run`` computes a batch; its arrays are read before."""
    import numpy as np

    from paramctl.compute.forward import Pass
    from paramctl.compute.space import NUMPY
    from paramctl.compute.values import Values

    source, graph = drawn(name)
    values = Values(source, np.dtype("float32"))
    for path in values:
        values[path]
    passed = Pass(graph, NUMPY, values.of)
    (key,) = graph.inputs.values()
    inputs = {key: examples(name, batch)}
    return lambda: next(iter(passed.run(inputs).values()))


def torchs(name: str, batch: int) -> Callable[[], Any]:
    """Return the pass by torch, in its default layout."""
    import torch

    net = module(name)
    source, graph = drawn(name)
    arrays = [array for step in graph.steps for array in torch_arrays(source, step)]
    own = [value for key, value in net.state_dict().items() if not key.endswith("num_batches_tracked")]
    with torch.no_grad():
        for value, array in zip(own, arrays, strict=True):
            value.copy_(torch.from_numpy(array))
    x = torch.from_numpy(examples(name, batch))
    if x.ndim == 4:
        x = x.permute(0, 3, 1, 2).contiguous()

    def run() -> Any:
        with torch.inference_mode():
            return net(x).numpy()

    return run


def drawn(name: str) -> tuple[Any, Any]:
    """Return a model with values, and its steps."""
    import paramctl
    from paramctl.compute.graph import graph_of
    from paramctl.declare.located import Located
    from paramctl.model import load

    variables = {key: Located(value) for key, value in SIZES.get(name, {}).items()}
    source = paramctl.initialize(load(str(SAMPLES / f"{name}.yaml"), variables), seed=1).source
    return source, graph_of(source.model)


def examples(name: str, batch: int) -> Any:
    """Return a batch of random images or texts."""
    import numpy as np

    rng = np.random.default_rng(0)
    if name in IMAGES:
        return rng.random((batch, *IMAGES[name]), "float32")
    return rng.integers(SIZES[name]["vocabulary"], size=(batch, TOKENS))


def torch_arrays(source: Any, step: Any) -> list[Any]:
    """Return the arrays of a step as the module of torch has them: kernels with the outputs first."""
    import numpy as np

    from paramctl.compute.values import Values

    arrays = Values(source, np.dtype("float32")).of(step)
    if step.layer.type == "dense" and arrays["kernel"].shape[0] == 400:  # LeNet's, after torch's channels-first map
        arrays["kernel"] = arrays["kernel"].reshape(5, 5, 16, -1).transpose(2, 0, 1, 3).reshape(400, -1)
    if "embedding" in step.layer.type:
        return [*arrays.values()]
    if step.layer.type == "lstm":  # torch adds a second bias
        arrays["zeros"] = np.zeros_like(arrays["lstm_cell/bias"])
    if step.layer.type == "multi_head_attention":
        width = arrays["query/kernel"].shape[0]
        parts = {part: [arrays[f"{name}/{part}"] for name in ("query", "key", "value")] for part in ("kernel", "bias")}
        kernel = np.concatenate([each.reshape(width, width) for each in parts["kernel"]], axis=1)
        output = arrays["attention_output/kernel"].reshape(width, width)
        arrays = {"1": kernel, "2": np.ravel(parts["bias"]), "3": output, "4": arrays["attention_output/bias"]}
    order = {2: (1, 0), 4: (3, 2, 0, 1)}
    return [np.ascontiguousarray(a.transpose(order[a.ndim]) if a.ndim in order else a) for a in arrays.values()]


def module(name: str) -> Any:
    """Return the network as torch code has it; its layers in the order of the document."""
    from torch import nn

    if name == "lenet":
        return nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2), nn.Sigmoid(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Sigmoid(),
            nn.AvgPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.Sigmoid(), nn.Linear(120, 84), nn.Sigmoid(),
            nn.Linear(84, 10),
        )  # fmt: skip
    return {"resnet50": resnet50, "lstm_classifier": lstm_classifier, "gpt2": gpt2}[name]()


def lstm_classifier() -> Any:
    from torch import nn

    class LastStep(nn.Module):
        def forward(self, x: Any) -> Any:
            return x[0][:, -1]

    embedding = nn.Embedding(SIZES["lstm_classifier"]["vocabulary"], 128)
    return nn.Sequential(embedding, nn.LSTM(128, 128, batch_first=True), LastStep(), nn.Linear(128, 1), nn.Sigmoid())


def gpt2() -> Any:
    from torch import nn
    from torch.nn.functional import gelu, scaled_dot_product_attention

    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(TOKENS, 768)

        def forward(self, x: Any) -> Any:
            return x + self.table.weight

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before, self.inputs, self.output = nn.LayerNorm(768), nn.Linear(768, 2304), nn.Linear(768, 768)
            self.between, self.expand, self.contract = nn.LayerNorm(768), nn.Linear(768, 3072), nn.Linear(3072, 768)

        def forward(self, x: Any) -> Any:
            heads = (part.unflatten(2, (12, 64)).transpose(1, 2) for part in self.inputs(self.before(x)).split(768, 2))
            x = x + self.output(scaled_dot_product_attention(*heads, is_causal=True).transpose(1, 2).flatten(2))
            return x + self.contract(gelu(self.expand(self.between(x)), approximate="tanh"))

    vocabulary = SIZES["gpt2"]["vocabulary"]
    blocks = [Block() for _ in range(12)]
    head = nn.Linear(768, vocabulary, bias=False)
    return nn.Sequential(nn.Embedding(vocabulary, 768), Positions(), *blocks, nn.LayerNorm(768), head)


def resnet50() -> Any:
    from torch import nn

    def convolution(inputs: int, filters: int, size: int, stride: int = 1) -> list[Any]:
        padding = size // 2
        return [nn.Conv2d(inputs, filters, size, stride, padding), nn.BatchNorm2d(filters, eps=1.001e-5)]

    class Bottleneck(nn.Module):
        def __init__(self, inputs: int, filters: int, stride: int) -> None:
            super().__init__()
            projects = inputs != 4 * filters
            self.layers = nn.Sequential(
                *convolution(inputs, filters, 1, stride), nn.ReLU(inplace=True),
                *convolution(filters, filters, 3), nn.ReLU(inplace=True), *convolution(filters, 4 * filters, 1),
            )  # fmt: skip
            self.shortcut = nn.Sequential(*(convolution(inputs, 4 * filters, 1, stride) if projects else []))
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x: Any) -> Any:
            return self.relu(self.shortcut(x) + self.layers(x))

    blocks, inputs = [], 64
    for filters, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for number in range(count):
            blocks.append(Bottleneck(inputs, filters, stride if number == 0 else 1))
            inputs = 4 * filters
    first = [*convolution(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    last = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000), nn.Softmax(-1)]
    return nn.Sequential(*first, *blocks, *last).eval()


def seconds(name: str, batch: int) -> list[list[float]]:
    """Return the least processor time and the least elapsed time of each side. Both must compute the same."""
    import numpy as np

    passes = [ours(name, batch), torchs(name, batch)]
    outputs = [run() for run in passes]
    assert np.allclose(*outputs, rtol=1e-3, atol=1e-5), np.abs(outputs[0] - outputs[1]).max()
    rounds, begin = [], time.monotonic()
    while len(rounds) < RUNS[batch] or time.monotonic() - begin < LEAST_SECONDS:
        rounds.append([timed(run) for run in passes])
    return [[min(times) for times in zip(*side, strict=True)] for side in zip(*rounds, strict=True)]


def timed(run: Callable[[], Any]) -> tuple[float, float]:
    begun = time.process_time(), time.perf_counter()
    run()
    return time.process_time() - begun[0], time.perf_counter() - begun[1]


def megabytes(side: str, name: str, batch: int) -> float:
    """Return the most memory that one pass of a side holds beyond the state before it."""
    run = {"ours": ours, "torch": torchs}[side](name, batch)
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak of the time before
    run()
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return (int(peak.split()[1]) * 1024 - before) / 1e6


def child(threads: int, *arguments: object) -> Any:
    """Return the result of a process of this file that has this many processors, and threads of torch."""
    environment = os.environ | {f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "MKL")}
    environment["OPENBLAS_NUM_THREADS"] = "1"  # NumPy's, as the command sets it on any number of processors
    processors = sorted(os.sched_getaffinity(0))[:threads]
    done = subprocess.run(
        [sys.executable, __file__, *map(str, arguments)],
        stdout=subprocess.PIPE, check=True, env=environment, preexec_fn=lambda: os.sched_setaffinity(0, processors),
    )  # fmt: skip
    return json.loads(done.stdout)


def main() -> None:
    rows = []
    for name in (*IMAGES, *SIZES):
        for batch in RUNS:
            memory = [child(1, "megabytes", side, name, batch) for side in SIDES]
            for threads in (1, 2):
                (cpu, elapsed), (their_cpu, their_elapsed) = child(threads, "seconds", name, batch)
                row = (name, batch, threads, 1e3 * cpu, 1e3 * their_cpu, cpu / their_cpu, elapsed / their_elapsed)
                rows.append((*row, AIMS[batch], *memory, memory[0] / memory[1], MEMORY_AIM))
                print(f"{name}, batch {batch}, threads {threads}: {cpu / their_cpu:.3g}", file=sys.stderr, flush=True)
    heads = ["network", "batch", "threads", "ours, CPU ms", "torch, CPU ms", "ratio", "elapsed, ratio", "aim: at most",
         "ours, MB", "torch, MB", "ratio", "aim: at most"]  # fmt: skip
    print(f"\nA forward pass, against torch\n\n{tabulate(rows, heads, floatfmt='.3g')}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        function, *words = sys.argv[1:]
        print(json.dumps(globals()[function](*(int(word) if word.isdigit() else word for word in words))))
    else:
        main()

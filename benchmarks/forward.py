"""Forward passes: here and by torch, with the same arrays and the same outputs, measured inside of each process.

The command computes with one thread of OpenBLAS, and torch with a thread for each processor. Memory is what a pass
holds at most beyond the state before it.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench import ROOT, SAMPLES, Bench
from measure import Row, Side
from proofs import text

LEAST_SECONDS = 1.0
"""The passes of a process take at least this long together, because the least of a few is not yet the least."""
AIMS = {1: 1.5, 32: 3.0}
"""By the size of the batch."""
IMAGES = {"lenet": (28, 28, 1), "resnet50": (224, 224, 3)}
TOKENS = 128
SIZES: dict[str, dict[str, int]] = {
    "lstm_classifier": {"vocabulary": 1000},
    "gpt2": {"vocabulary": 1000, "context": TOKENS},
}
"""The models of texts, which are TOKENS long, and their variables."""
MODELS = (*IMAGES, *SIZES)


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


def report(side: str, name: str, batch: int) -> None:
    """Print the least processor time and elapsed time of several passes, the memory of the first, and its outputs."""
    import numpy as np

    run = {"ours": ours, "torch": torchs}[side](name, batch)
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak of the time before
    outputs = np.ravel(run())
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    times, begin = [], time.monotonic()
    while not times or time.monotonic() - begin < LEAST_SECONDS:
        times.append(timed(run))
    cpu, elapsed = map(min, zip(*times, strict=True))
    # Weights that differ with the place show outputs in another order, which a plain sum would not.
    weighted = outputs.astype("f8") @ np.cos(np.arange(outputs.size)) / np.linalg.norm(outputs)
    proof = [outputs.size, *outputs[:100].astype("f8"), weighted]
    megabytes = (int(peak.split()[1]) * 1024 - before) / 1e6
    print(json.dumps({"cpu": cpu, "elapsed": elapsed, "megabytes": megabytes, "proof": proof}))


def timed(run: Callable[[], Any]) -> tuple[float, float]:
    begun = time.process_time(), time.perf_counter()
    run()
    return time.process_time() - begun[0], time.perf_counter() - begun[1]


def rows(bench: Bench) -> Iterator[Row]:
    bench.require("torch")
    for name in bench.size(MODELS, MODELS[:1]):
        for batch, threads in bench.size(((1, 1), (32, 1), (32, 2)), ((1, 1),)):
            command = [bench.peers, __file__, "--report"]
            # One thread of OpenBLAS, as the command sets it; torch has as many threads as processors.
            environment = {f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "MKL")}
            environment |= {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
            processors = ",".join(map(str, sorted(os.sched_getaffinity(0))[:threads]))
            sides = [
                Side(label, ["taskset", "-c", processors, *command, side, name, str(batch)],
                     environment=environment, reports=True)
                for label, side in (("paramctl", "ours"), ("torch", "torch"))
            ]  # fmt: skip
            words = f"{name}, batch {batch}, {threads} core{'s' * (threads > 1)}"
            yield Row(words, sides[0], sides[1:], text, {"torch": AIMS[batch]})


if __name__ == "__main__" and sys.argv[1:2] == ["--report"]:
    side_, name_, batch_ = sys.argv[2:]
    report(side_, name_, int(batch_))

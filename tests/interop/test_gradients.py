"""Gradients and training: against finite differences for every layer and option, against torch, and against Keras.

The cases are those of test_configurations, generated from the registry: a new layer is here by existing.
"""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import paramctl as pc
from paramctl.compute.data import check_examples
from paramctl.compute.gradients import Differentiation
from paramctl.compute.graph import graph_of
from paramctl.compute.losses import LOSSES, Sum
from paramctl.compute.optimizers import OPTIMIZERS, parse_optimizer
from paramctl.compute.shuffle import Shuffled
from paramctl.compute.values import Values
from paramctl.core.dtypes import Array
from paramctl.model.layers import LAYERS
from tests.conftest import ROOT
from tests.interop.test_configurations import BATCH, comparable, source_of
from tests.interop.test_layers import IN_KERAS

STEP = 1e-6


class Weighted(Sum):
    """The sum of the outputs, each times a fixed random number: its gradient has all outputs in it."""

    def compute(self, xp: Any, outputs: Array, targets: Array) -> Array:
        weights = np.random.default_rng(1).random(outputs.shape) + 0.5
        return xp.sum(outputs * weights)


del LOSSES[Weighted.name]


@pytest.mark.parametrize("name", IN_KERAS)
def test_the_gradient_of_every_option_of_a_layer(name: str, tmp_path: Path) -> None:
    """In float64, along one random direction in each array: (f(w + hv) - f(w - hv)) / 2h, to 1e-5 of it."""
    layer = LAYERS[name]
    cases = comparable(layer).computed
    assert cases
    rng = np.random.default_rng(0)
    compared = 0
    for number, case in enumerate(cases):
        folder = tmp_path / str(number)
        folder.mkdir()
        source = source_of(layer, [case], folder)
        model, graph = source.model, graph_of(source.model)
        differentiation = Differentiation(model, graph, Weighted())
        values = dict(Values(source, np.dtype("float64")))
        limit = graph.steps[0].layer.categories()
        inputs = {
            f"{key}-0": rng.random((BATCH, *shape)) + 0.05 if limit is None else rng.integers(0, limit, (BATCH, *shape))
            for key, shape in case.inputs.items()
        }
        if not differentiation.trained:
            continue
        slope = differentiation.slope(values, inputs, np.empty(0))
        for path, gradient in slope.gradients.items():
            direction = rng.standard_normal(gradient.shape)
            losses = [
                differentiation.slope(values | {path: values[path] + sign * STEP * direction}, inputs, np.empty(0)).loss
                for sign in (1, -1)
            ]
            expected = (losses[0] - losses[1]) / (2 * STEP)
            scale = np.abs(gradient * direction).sum() + 1e-3
            # losses are rounded; the gradient by the bias of keys, which move all scores of a query alike, is 0
            rounding = 4 * np.finfo(float).eps * abs(slope.loss) / STEP
            assert abs((gradient * direction).sum() - expected) < 1e-5 * scale + rounding, (json.dumps(case), path)
            compared += 1
    assert compared or not any(parameter.trainable for parameter in source.model.parameters.values())


TIED = (
    "name: m\ninput: [4]\nlayers:\n  - dense: {name: first, units: 4, activation: tanh}\n"
    "  - dense: {name: shared, units: 4, activation: tanh}\n  - reuse: shared\n"
    "  - dense: {name: out, units: 4, use_bias: false}\nties: [{keep: shared/kernel, tie: out/kernel, transpose: true}]\n"
)


@pytest.fixture
def tied(tmp_path: Path) -> tuple[pc.Weights, dict[str, Array]]:
    """A network with a layer that is used twice, and once more transposed; and examples."""
    (tmp_path / "m.yaml").write_text(TIED)
    rng = np.random.default_rng(0)
    data = {"input": rng.standard_normal((10, 4)), "y": rng.random((10, 4))}
    return pc.initialize(tmp_path / "m.yaml", scheme="glorot_uniform", seed=3, dtype="float64"), data


def in_torch(weights: pc.Weights) -> dict[str, torch.Tensor]:
    """Its parameters as tensors of torch, the shared one once."""
    kept = [path for path in weights if path != "out/kernel"]
    return {path: torch.tensor(np.asarray(weights[path]), requires_grad=True) for path in kept}


def torch_output(p: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    x = torch.tanh(x @ p["first/kernel"] + p["first/bias"])
    for _ in range(2):
        x = torch.tanh(x @ p["shared/kernel"] + p["shared/bias"])
    return x @ p["shared/kernel"].T


TORCH_LOSSES = {
    "mse": torch.nn.functional.mse_loss,
    "mae": torch.nn.functional.l1_loss,
    "huber": torch.nn.functional.huber_loss,
    "cross_entropy": torch.nn.functional.cross_entropy,
    "binary_cross_entropy": torch.nn.functional.binary_cross_entropy_with_logits,
    "sum": lambda outputs, targets: outputs.sum(),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_equals_torch(loss: str, tied: tuple[pc.Weights, dict[str, Array]]) -> None:
    """Value and gradients in float64, to 1e-12."""
    weights, data = tied
    parameters = in_torch(weights)
    value = TORCH_LOSSES[loss](torch_output(parameters, torch.tensor(data["input"])), torch.tensor(data["y"]))
    value.backward()
    given = data if LOSSES[loss].has_targets else {"input": data["input"]}
    ours = pc.gradients(weights, given, loss=loss, dtype="float64")
    assert f"is {value.item():.8g}" in ours.notes[0]
    for path, tensor in parameters.items():
        assert tensor.grad is not None
        assert np.allclose(np.asarray(ours[path]), tensor.grad.numpy(), rtol=1e-10, atol=1e-13), path


TORCH_OPTIMIZERS = {
    "sgd": torch.optim.SGD,
    "momentum": lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9),
    "nesterov": lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9, nesterov=True),
    "adagrad": torch.optim.Adagrad,
    "rmsprop": lambda p, lr: torch.optim.RMSprop(p, lr, alpha=0.9),
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_equals_torch(name: str, tied: tuple[pc.Weights, dict[str, Array]]) -> None:
    """Ten steps on all examples, in float64; the shared array takes one step along the sum of its gradients."""
    weights, data = tied
    parameters = in_torch(weights)
    rate = parse_optimizer(name, "optimizer").default_rate
    optimizer = TORCH_OPTIMIZERS[name](list(parameters.values()), lr=rate)
    x, y = torch.tensor(data["input"]), torch.tensor(data["y"])
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(torch_output(parameters, x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    ours: list[float] = []
    trained = pc.train(
        weights,
        data,
        optimizer=name,
        steps=10,
        batch_size=10,
        dtype="float64",
        on_step=lambda report: ours.append(report.loss),
    )
    assert np.allclose(ours, losses, rtol=1e-9)
    for path, tensor in parameters.items():
        assert np.allclose(np.asarray(trained[path]), tensor.detach().numpy(), rtol=1e-7, atol=1e-9), path
    assert np.array_equal(np.asarray(trained["out/kernel"]), np.asarray(trained["shared/kernel"]).T)


def test_the_shared_layer_of_the_chapter_equals_keras() -> None:
    """The gradients of tied_mlp.yaml's layers, of which one is used twice, for the same weights and examples."""
    path = str(ROOT / "sample_models/tied_mlp.yaml")
    weights = pc.initialize(path, scheme="glorot_uniform", seed=1)
    shared = keras.layers.Dense(4, activation="relu")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Flatten()])
    x = keras.Input((4,))
    last = keras.layers.Dense(1)
    model = keras.Model(x, last(shared(shared(keras.layers.Flatten()(x)))))
    model.set_weights([np.asarray(weights[name]) for name in weights])
    rng = np.random.default_rng(0)
    data = {"input": rng.standard_normal((8, 4)).astype("float32"), "y": rng.random((8, 1)).astype("float32")}
    loss = keras.losses.MeanSquaredError()(data["y"], model(data["input"]))
    loss.backward()
    ours = pc.gradients(weights, data)
    for name, variable in zip(weights, model.trainable_variables, strict=True):
        assert np.allclose(np.asarray(ours[name]), variable.value.grad.numpy(), rtol=1e-5, atol=1e-6), name


DIGITS = (
    "name: digits\ninput: [8, 8, 1]\nlayers:\n"
    "  - conv2d: {name: conv, filters: 8, kernel_size: 3, activation: relu}\n  - max_pooling2d: 2\n  - flatten\n"
    "  - dense: {name: hidden, units: 32, activation: relu}\n  - dense: {name: out, units: 10}\n"
)


class Classifier(torch.nn.Module):
    """The same network in torch, on images with channels first."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.hidden, self.out = torch.nn.Conv2d(1, 8, 3), torch.nn.Linear(72, 32), torch.nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.nn.functional.max_pool2d(torch.relu(self.conv(x)), 2).flatten(1)
        return self.out(torch.relu(self.hidden(x)))


def test_an_epoch_on_the_digits_reaches_torchs_accuracy(tmp_path: Path) -> None:
    """From the same start, on the same batches: the same losses, and the same share of right answers on the rest."""
    (tmp_path / "m.yaml").write_text(DIGITS)
    images, classes = load_digits(return_X_y=True)
    x, y = (images / 16).reshape(-1, 8, 8, 1).astype("float32"), classes.astype("int64")
    known = {"input": x[:1500], "y": y[:1500]}
    start = pc.initialize(tmp_path / "m.yaml", scheme="he_uniform", seed=1)
    network = Classifier()
    arrays = pc.convert(start, layout="torch")
    network.load_state_dict({name: torch.tensor(np.asarray(arrays[name])) for name in arrays})

    source = start.source
    graph = graph_of(source.model)
    function = LOSSES["cross_entropy"]()
    batches = Shuffled(check_examples(source.model, graph, known, function, np.dtype("float32")), 32, 1)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    losses = []
    for step in range(batches.epoch_steps):
        batch = batches.batch(step)
        loss = torch.nn.functional.cross_entropy(
            network(torch.tensor(batch.inputs["input"]).permute(0, 3, 1, 2)), torch.tensor(batch.targets)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    ours: list[float] = []
    trained = pc.train(
        start,
        known,
        loss="cross_entropy",
        optimizer="adam",
        learning_rate=0.01,
        seed=1,
        on_step=lambda report: ours.append(report.loss),
    )
    assert np.allclose(ours, losses, rtol=0.02, atol=1e-3)
    answers = np.asarray(pc.run(trained, x[1500:])["out"]).argmax(1)
    theirs = network(torch.tensor(x[1500:]).permute(0, 3, 1, 2)).argmax(1).numpy()
    accuracy, expected = (float(np.mean(each == y[1500:])) for each in (answers, theirs))
    assert expected > 0.75
    assert abs(accuracy - expected) < 0.01


SEQUENCE = "input: [4]\nlayers:\n  - embedding: {input_dim: 5, output_dim: 3, mask_zero: true}\n"
LSTM = "  - lstm: {units: 3, return_sequences: true}\n"
IN_KERAS_TOO = {
    "time distributed": (
        "input: [4, 3]\nlayers:\n  - time_distributed: {dense: {units: 5, activation: softmax}}\n",
        "cross_entropy",
        False,
    ),
    "rearranged": ("input: [4]\nlayers:\n  - dense: 6\n  - softmax\n  - reshape: [2, 3]\n", "cross_entropy", False),
    "a sigmoid's": ("input: [4]\nlayers:\n  - dense: {units: 5, activation: sigmoid}\n", "cross_entropy", False),
    "binary": (
        "input: [4]\nlayers:\n  - dense: {units: 2, activation: sigmoid}\n  - reshape: [2, 1]\n",
        "binary_cross_entropy",
        False,
    ),
    "recurrent": ("input: [4, 3]\nlayers:\n  - lstm: {units: 2, activation: sigmoid}\n", "binary_cross_entropy", True),
    "mse with a mask": (f"{SEQUENCE}{LSTM}  - dense: 2\n", "mse", False),
    "huber with a mask": (f"{SEQUENCE}{LSTM}  - dense: 1\n", "huber", False),
    "classes with a mask": (f"{SEQUENCE}{LSTM}  - dense: {{units: 4, activation: softmax}}\n", "cross_entropy", False),
    "logits with a mask": (f"{SEQUENCE}{LSTM}  - dense: 4\n", "cross_entropy", True),
}
KERAS_LOSSES = {
    "mse": lambda logits: keras.losses.MeanSquaredError(),
    "huber": lambda logits: keras.losses.Huber(),
    "cross_entropy": lambda logits: keras.losses.CategoricalCrossentropy(from_logits=logits),
    "binary_cross_entropy": lambda logits: keras.losses.BinaryCrossentropy(from_logits=logits),
}


@pytest.mark.parametrize("name", IN_KERAS_TOO)
def test_the_loss_of_a_compiled_model(name: str, tmp_path: Path) -> None:
    """Keras is told whether outputs are logits, and finds the mask of the output itself; here both follow from layers."""
    text, loss, logits = IN_KERAS_TOO[name]
    (tmp_path / "m.yaml").write_text(f"name: m\n{text}")
    weights = pc.initialize(tmp_path / "m.yaml", scheme="glorot_uniform", seed=2)
    pc.save(weights, tmp_path / "m.keras")
    model = keras.models.load_model(tmp_path / "m.keras")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((6, *model.input_shape[1:])).astype("float32")
    if "embedding" in text:
        x = rng.integers(0, 5, (6, 4)) * (np.arange(4) < np.arange(6)[:, None])  # padded, the first one entirely
    shape = (6, *model.output_shape[1:])
    y = (np.eye(shape[-1])[rng.integers(0, shape[-1], shape[:-1])] if shape[-1] > 1 else rng.random(shape)).astype(
        "float32"
    )
    model.compile(loss=KERAS_LOSSES[loss](logits))
    outputs = model(keras.ops.convert_to_tensor(x), training=False)
    value = model.compute_loss(x=x, y=keras.ops.convert_to_tensor(y), y_pred=outputs, training=False)
    value.backward()
    for size in (6, 2):
        ours = pc.gradients(weights, {"x": x, "y": y}, loss=loss, batch_size=size)
        assert abs(float(ours.notes[0].split()[-1]) - value.item()) < 1e-5 * abs(value.item())
        for path, variable in zip(weights, model.trainable_variables, strict=True):
            expected = variable.value.grad.numpy()
            assert np.allclose(np.asarray(ours[path]), expected, rtol=1e-4, atol=1e-6), path

"""The fates of options in torch, and the notes of a conversion, are true of torch's own modules."""

import ast
import inspect
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch

import paramctl
from paramctl.model.layers import FUNCTIONS, LAYERS
from tests.interop.cases import required

MODULES = sorted(name for name, cls in LAYERS.items() if cls.torch_module)


@pytest.mark.parametrize("name", MODULES)
def test_arguments_and_their_defaults_are_those_of_the_module(name: str) -> None:
    assert len(MODULES) > 30
    cls = LAYERS[name]
    module = getattr(torch.nn, cls.torch_module.format(cls.rank or 1))
    parameters = dict(inspect.signature(module.__init__).parameters)
    for base in module.__mro__[1:]:  # nn.LSTM takes the arguments of its base
        parameters = dict(inspect.signature(base.__init__).parameters) | parameters
    for option in cls.torch_options.values():
        if option.argument == "nonlinearity":  # hidden behind **kwargs
            assert option.default == torch.nn.RNN(1, 1).nonlinearity
        elif option.argument:
            parameter = parameters[option.argument]
            assert option.default == (None if parameter.default is inspect.Parameter.empty else parameter.default)


SAMPLE = np.linspace(-3, 3, 40, dtype="float32").reshape(4, 10)


@pytest.mark.parametrize("name", sorted({cls.name for cls in FUNCTIONS.values()}))
def test_an_activation_has_the_values_of_torchs_module(name: str) -> None:
    """With the defaults that paramctl has, which torch's may not be."""
    function = FUNCTIONS[name](**required(FUNCTIONS[name].signature))
    text = function.torch_text()
    if "not in torch.nn" in text:
        assert not any(cls.lower() == name.replace("_", "") for cls in dir(torch.nn))
        return
    options = dict(vars(function))
    expected = keras.ops.convert_to_numpy(
        getattr(keras.activations, name)(keras.ops.convert_to_tensor(SAMPLE), **options)
    )
    with torch.no_grad():
        ours = eval(text)(torch.from_numpy(SAMPLE)).numpy()  # noqa: S307
    assert np.allclose(ours, expected, atol=1e-5)


PADDED = {
    "conv1d": "filters: 2, kernel_size: 3",
    "conv2d": "filters: 2, kernel_size: [4, 3]",
    "conv2d_transpose": "filters: 2, kernel_size: [4, 3]",
    "conv1d_transpose": "filters: 2, kernel_size: 5",
    "depthwise_conv2d": "kernel_size: 3",
    "conv1d dilated": "filters: 2, kernel_size: 3, dilation_rate: 2",
    "max_pooling2d": "pool_size: 3",
    "max_pooling1d": "pool_size: 2",
    "average_pooling2d": "pool_size: 3",
}
CODE = {
    "max_pooling2d": torch.nn.MaxPool2d,
    "max_pooling1d": torch.nn.MaxPool1d,
    "average_pooling2d": torch.nn.AvgPool2d,
}


@pytest.mark.parametrize("layer", PADDED)
@pytest.mark.parametrize("strides", [1, 2, 3])
@pytest.mark.parametrize("padding", ["valid", "same", "causal", "same, output_padding: 0", "valid, output_padding: 0"])
def test_noted_padding_is_that_of_keras(layer: str, strides: int, padding: str, tmp_path: Path) -> None:
    """The notes are carried out as torch code, and the outputs compared."""
    if (padding == "causal" and "conv1d" not in layer.split()) or ("output" in padding and "transpose" not in layer):
        pytest.skip("the layer has no such option")
    if "dilated" in layer and strides > 1:
        pytest.skip("Keras does not support both")
    key, layer = layer, layer.partition(" ")[0]
    rank = 1 if "1d" in layer else 2
    shape = (10, 4) if rank == 1 else (9, 10, 4)
    options = f"{PADDED[key]}, strides: {strides}, padding: {padding}"
    (tmp_path / "m.yaml").write_text(
        f"input: {list(shape)}\nlayers:\n  - {layer}: {{name: n, {options}}}\n"
        f"  - conv{rank}d: {{name: e, filters: 1, kernel_size: 1}}\n"
    )
    weights = paramctl.initialize(str(tmp_path / "m.yaml"), rules={"**": "random_uniform:minval=-1,maxval=1"}, seed=2)
    paramctl.save(weights, str(tmp_path / "m.keras"))
    model = keras.models.load_model(tmp_path / "m.keras")
    tensors = paramctl.convert(weights, layout="torch")
    x = np.random.default_rng(1).normal(size=(2, *shape)).astype("float32")
    expected = keras.ops.convert_to_numpy(keras.Model(model.inputs, model.get_layer("n").output)(x))
    notes = [note.removeprefix("n: ") for note in tensors.notes if note.startswith("n: ")]
    if any("each mean is of the values within the input" in note for note in notes):
        pytest.skip("the note requires other code")
    arguments: dict[str, Any] = {"groups": 4} if layer.startswith("depthwise") else {}
    tensor, dropped = torch.from_numpy(np.moveaxis(x, -1, 1).copy()), None
    for note in notes:
        if note.startswith("set "):
            arguments |= eval(f"dict({note[4:].partition(' in torch')[0]})")  # noqa: S307
        elif "functional.pad" in note:
            tensor = eval(note.partition("by ")[2], {"torch": torch, "x": tensor})  # noqa: S307
        else:
            dropped = [ast.literal_eval(f"({part.partition(')')[0]})") for part in note.split("(")[1:]]
    if layer in CODE:
        output = CODE[layer](ast.literal_eval(PADDED[layer].partition(": ")[2]), strides, **arguments)(tensor)
    else:
        weight, bias = (torch.from_numpy(np.array(tensors[f"n.{name}"])) for name in ("weight", "bias"))
        function = getattr(torch.nn.functional, f"conv{'_transpose' * ('transpose' in layer)}{rank}d")
        output = function(tensor, weight, bias, **arguments)
    for axis, (first, last) in enumerate(zip(*dropped, strict=True) if dropped else (), start=2):
        output = output.narrow(axis, first, output.shape[axis] - first - last)
    assert np.allclose(np.moveaxis(output.numpy(), 1, -1), expected, atol=1e-4), notes

"""The facts about a layer that are compared, read from Keras and from paramctl."""

from typing import Any, NamedTuple

from keras.layers import Layer

from paramctl.core.parameter import Parameter

Shape = tuple[int | None, ...]


class Facts(NamedTuple):
    """A layer's output shape, and (name below the layer, shape, trainable) of its parameters in order."""

    output: Shape | None
    parameters: tuple[tuple[str, tuple[int, ...], bool], ...]


def of_keras(layer: Layer, output: Any) -> Facts:
    """Return Keras' facts about a layer, and about one of its output tensors."""
    trained = {id(variable) for variable in layer.trainable_weights}
    parameters = (
        (variable.path.rpartition(f"{layer.name}/")[2], tuple(variable.shape), id(variable) in trained)
        for variable in layer.weights
    )
    return Facts(tuple(output.shape), tuple(parameters))


def of_paramctl(path: str, output: Shape | None, parameters: list[Parameter]) -> Facts:
    """Return paramctl's facts about the layer at a path."""
    return Facts(output, tuple((each.path.removeprefix(f"{path}/"), each.shape, each.trainable) for each in parameters))

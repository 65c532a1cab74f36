"""What is compared of a layer, and how Keras says it."""

from typing import Any, NamedTuple

from keras.layers import Layer

from paramctl.core.parameter import Parameter

Shape = tuple[int | None, ...]


class Facts(NamedTuple):
    """A layer's output shape, and (name below the layer, shape, trainable) of its parameters in order."""

    output: Shape | None
    parameters: tuple[tuple[str, tuple[int, ...], bool], ...]


def of_keras(layer: Layer, output: Any) -> Facts:
    """What Keras says of a layer, and of one tensor that it gave."""
    trained = {id(variable) for variable in layer.trainable_weights}
    parameters = (
        (variable.path.rpartition(f"{layer.name}/")[2], tuple(variable.shape), id(variable) in trained)
        for variable in layer.weights
    )
    return Facts(tuple(output.shape), tuple(parameters))


def of_paramctl(path: str, output: Shape | None, parameters: list[Parameter]) -> Facts:
    """What paramctl says of the layer at a path."""
    return Facts(output, tuple((each.path.removeprefix(f"{path}/"), each.shape, each.trainable) for each in parameters))

"""The layers of a whole network on both sides, to be paired in the order in which they are applied."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from keras import KerasTensor, Model
from keras import layers as keras_layers
from keras.src.utils.naming import to_snake_case
from keras.src.utils.summary_utils import count_params

from paramctl.declare.located import Located
from paramctl.model import Block, load, totals
from paramctl.model import Model as Built
from tests.interop.facts import Facts, of_keras, of_paramctl

SAMPLES = Path(__file__).parents[2] / "sample_models"
NOT_IN_KERAS = {"halve_while", "reduce_sum", "take"}


def sample(name: str, **variables: int) -> Built:
    return load(str(SAMPLES / f"{name}.yaml"), {key: Located(value) for key, value in variables.items()})


def leaves(blocks: Iterable[Block]) -> Iterator[Block]:
    """The layers in order of application, blocks opened, what is applied again too."""
    for block in blocks:
        if block.blocks:
            yield from leaves(block.blocks)
        else:
            yield block


def by_paramctl(model: Built) -> list[tuple[str, Facts]]:
    return [described(block, model) for block in leaves(model.blocks) if block.type not in NOT_IN_KERAS]


def described(block: Block, model: Built) -> tuple[str, Facts]:
    """A layer's type and facts; one that is applied again has the parameters of its first use."""
    home = block.reuse_of or block.path
    own = [parameter for path, parameter in model.parameters.items() if path.startswith(f"{home}/")]
    return block.type, of_paramctl(home, block.output, own)


def in_keras(layer: keras_layers.Layer, output: KerasTensor) -> tuple[str, Facts]:
    return to_snake_case(type(layer).__name__), of_keras(layer, output)


def in_graph(model: Model, *unwritten: type[keras_layers.Layer]) -> list[tuple[str, Facts]]:
    """The layers of a network with branches, in Keras' order, without those that its document does not write."""
    drop = (keras_layers.InputLayer, *unwritten)
    return [in_keras(layer, layer.output) for layer in model.layers if not isinstance(layer, drop)]


def counts(model: Built) -> tuple[int, int]:
    counted = totals(model.owners())
    return counted.trainable, counted.non_trainable


def keras_counts(model: Model) -> tuple[int, int]:
    return count_params(model.trainable_weights), count_params(model.non_trainable_weights)

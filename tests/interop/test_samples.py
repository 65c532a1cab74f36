"""Every sample model has the layers, the shapes and the parameters of the same network in Keras.

Layers are paired in the order in which they are applied, blocks opened; of each pair the type,
the output shape, the parameters' names, shapes and order, and what is trained must be equal.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from keras import KerasTensor, Model, Sequential
from keras import layers as keras_layers
from keras.src.utils.naming import to_snake_case
from keras.src.utils.summary_utils import count_params

from paramctl.model import Block, load, totals
from paramctl.model import Model as Built
from paramctl.node import Node
from tests.interop import chapter
from tests.interop.facts import Facts, of_keras, of_paramctl

SAMPLES = Path(__file__).parents[2] / "sample_models"
NOT_IN_KERAS = {"halve_while", "reduce_sum"}
NOT_IN_A_DOCUMENT = (keras_layers.InputLayer, keras_layers.Add)  # a document's residual adds without an entry
GPT2_DEPTH = 2

CHAINS = {
    "mlp": (25, 0),
    "rgnet": (85, 0),
    "tied_mlp": (25, 0),
    "nest_mlp": (3952, 0),
    "fancy_mlp": (420, 400),
    "chimera": (4712, 400),
    "lenet": (61_706, 0),
    "lstm_classifier": (2_691_713, 0),
}
"""The samples that are chains, with the published numbers of trained and other parameters."""


def sample(name: str, **variables: int) -> Built:
    return load(str(SAMPLES / f"{name}.yaml"), {key: Node(value) for key, value in variables.items()})


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


def along(chain: Sequential, x: KerasTensor) -> Iterator[tuple[keras_layers.Layer, KerasTensor]]:
    """The layers of a chain in order, chains within it opened, each applied once more to what came before."""
    for layer in chain.layers:
        if isinstance(layer, Sequential):
            for inner, output in along(layer, x):
                yield inner, output
            x = output
        else:
            x = layer(x)
            yield layer, x


def in_graph(model: Model) -> list[keras_layers.Layer]:
    """The layers of a network with branches, in Keras' order, without those that a document does not write."""
    return [layer for layer in model.layers if not isinstance(layer, NOT_IN_A_DOCUMENT)]


def counts(model: Built) -> tuple[int, int]:
    counted = totals(model.owners())
    return counted.trainable, counted.non_trainable


def keras_counts(model: Model) -> tuple[int, int]:
    return count_params(model.trainable_weights), count_params(model.non_trainable_weights)


@pytest.mark.parametrize("name", CHAINS)
def test_chain(name: str) -> None:
    ours, theirs = sample(name), getattr(chapter, name)()
    expected = [in_keras(layer, output) for layer, output in along(theirs, theirs.inputs[0])]
    assert expected
    assert by_paramctl(ours) == expected
    assert counts(ours) == keras_counts(theirs) == CHAINS[name]


def test_every_sample_is_compared() -> None:
    names = {path.stem for path in SAMPLES.glob("*.yaml")}
    assert names == CHAINS.keys() | {"resnet50", "gpt2"}


def test_gpt2() -> None:
    ours, theirs = sample("gpt2", depth=GPT2_DEPTH), chapter.gpt2(GPT2_DEPTH)
    assert by_paramctl(ours) == [in_keras(layer, layer.output) for layer in in_graph(theirs)]
    trained, others = keras_counts(theirs)
    head = ours.parameters["head/kernel"].size
    assert head == 50257 * 768
    assert counts(ours) == (trained - head, others)


@pytest.fixture(scope="module")
def resnet50() -> Model:
    return chapter.resnet50()


def test_resnet50_has_the_same_layers(resnet50: Model) -> None:
    """As a collection: the order of the two sides of a branch is each one's own."""
    ours = sample("resnet50")
    theirs = Counter(in_keras(layer, layer.output) for layer in in_graph(resnet50))
    assert Counter(by_paramctl(ours)) == theirs
    assert counts(ours) == keras_counts(resnet50) == (25_583_592, 53_120)


def test_resnet50_has_them_at_the_same_places(resnet50: Model) -> None:
    """conv{s}_block{b}_{k}_conv is conv{s}/block-{b-1}/residual/conv2d, _1 and _2 for k 1, 2 and 3, and in the
    shortcut for k 0; conv{s}_block{b}_{k}_bn is the batch normalization of the norm beside it."""
    ours = sample("resnet50")
    by_path = {block.path: block for block in leaves(ours.blocks)}
    placed = {layer: path for layer in resnet50.layers if (path := place(layer.name))}
    assert len(placed) == 2 * (3 * 16 + 4)
    for layer, path in placed.items():
        assert described(by_path[path], ours) == in_keras(layer, layer.output), (layer.name, path)


def place(name: str) -> str | None:
    """The path in the document of a convolution or a normalization of a block, by its name in Keras."""
    found = re.fullmatch(r"conv(\d)_block(\d)_(\d)_(conv|bn)", name)
    if found is None:
        return None
    stage, block, number = map(int, found.groups()[:3])
    where = f"conv{stage}/block-{block - 1}/residual" + ("" if number else "/shortcut")
    suffix = f"_{number - 1}" if number > 1 else ""
    return f"{where}/conv2d{suffix}" if found[4] == "conv" else f"{where}/norm{suffix}/batch_normalization"

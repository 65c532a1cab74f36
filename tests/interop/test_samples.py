"""Every sample model has the layers, the shapes and the parameters of the same network in Keras.

Layers are paired in the order in which they are applied, blocks opened; of each pair the type,
the output shape, the parameters' names, shapes and order, and what is trained must be equal.
"""

from collections.abc import Iterator

import pytest
from keras import KerasTensor, Sequential
from keras import layers as keras_layers

from tests.interop import chapter, transformers
from tests.interop.networks import SAMPLES, by_paramctl, counts, in_graph, in_keras, keras_counts, sample
from tests.interop.test_applications import APPLICATIONS

DEPTH = 2

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

TRANSFORMERS = {
    "bert_base": {"width": 48, "heads": 4, "vocabulary": 100, "context": 20},
    "vit_b16": {"width": 48, "heads": 4},
    "llama3_8b": {"width": 48, "heads": 6, "key_value_heads": 2, "hidden": 80, "vocabulary": 100},
}
"""The samples that are compared at sizes that Keras builds quickly."""


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


@pytest.mark.parametrize("name", CHAINS)
def test_chain(name: str) -> None:
    ours, theirs = sample(name), getattr(chapter, name)()
    expected = [in_keras(layer, output) for layer, output in along(theirs, theirs.inputs[0])]
    assert expected
    assert by_paramctl(ours) == expected
    assert counts(ours) == keras_counts(theirs) == CHAINS[name]


def test_every_sample_is_compared() -> None:
    names = {path.stem for path in SAMPLES.glob("*.yaml")}
    assert names == CHAINS.keys() | TRANSFORMERS.keys() | APPLICATIONS.keys() | {"gpt2"}


def test_gpt2() -> None:
    ours, theirs = sample("gpt2", depth=DEPTH), transformers.gpt2(DEPTH)
    assert by_paramctl(ours) == in_graph(theirs)
    trained, others = keras_counts(theirs)
    head = ours.parameters["head/kernel"].size
    assert head == 50257 * 768
    assert counts(ours) == (trained - head, others)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformer(name: str) -> None:
    small = TRANSFORMERS[name]
    ours, theirs = sample(name, depth=DEPTH, **small), getattr(transformers, name)(DEPTH, **small)
    expected = in_graph(theirs)
    assert expected
    assert by_paramctl(ours) == expected
    assert counts(ours) == keras_counts(theirs)

"""The samples that Keras has as applications are Keras', with all their layers and published numbers of parameters."""

import re
from collections import Counter
from collections.abc import Callable
from functools import cache

import keras
import pytest
from keras import Model
from keras import layers as keras_layers

from tests.interop.networks import by_paramctl, counts, described, in_graph, in_keras, keras_counts, leaves, sample

APPLICATIONS: dict[str, tuple[Callable[..., Model], tuple[int, int]]] = {
    "vgg16": (keras.applications.VGG16, (138_357_544, 0)),
    "mobilenet_v2": (keras.applications.MobileNetV2, (3_504_872, 34_112)),
    "resnet50": (keras.applications.ResNet50, (25_583_592, 53_120)),
}
"""Each with its published numbers of trained and other parameters."""


@cache
def application(name: str) -> Model:
    return APPLICATIONS[name][0](weights=None)


@pytest.mark.parametrize("name", ["vgg16", "mobilenet_v2"])
def test_has_the_same_layers_in_order(name: str) -> None:
    expected = in_graph(application(name), keras_layers.Add)
    assert expected
    assert by_paramctl(sample(name)) == expected


def test_resnet50_has_the_same_layers() -> None:
    """As a collection: the order of the two sides of a branch is each one's own."""
    expected = Counter(in_graph(application("resnet50"), keras_layers.Add))
    assert Counter(by_paramctl(sample("resnet50"))) == expected


@pytest.mark.parametrize("name", APPLICATIONS)
def test_numbers_of_parameters(name: str) -> None:
    assert counts(sample(name)) == keras_counts(application(name)) == APPLICATIONS[name][1]


def test_resnet50_has_them_at_the_same_places() -> None:
    """conv{s}_block{b}_{k}_conv is conv{s}/block-{b-1}/residual/conv2d, _1 and _2 for k 1, 2 and 3, and in the
    shortcut for k 0; conv{s}_block{b}_{k}_bn is the batch normalization of the norm beside it."""
    ours = sample("resnet50")
    by_path = {block.path: block for block in leaves(ours.blocks)}
    placed = {layer: path for layer in application("resnet50").layers if (path := place(layer.name))}
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

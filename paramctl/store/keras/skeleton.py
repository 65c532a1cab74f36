"""The tree of a configuration that no document expresses, as of custom classes: its layers in the order of its lists.

The tree has only what the configuration records: classes, names, the inputs of each layer, and whether it is trained.
A layer of Keras itself is built through a document where the shapes of its inputs are known: from the layers before
it, or because a layer after it was built for a shape (build_config).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, NamedTuple

from paramctl.core.parameter import Parameter
from paramctl.model import Block, Input, Model
from paramctl.model.layers import Sizes
from paramctl.model.layers.base import snake_case
from paramctl.store.keras.config_names import Shapes, without_shared
from paramctl.store.keras.layer_cache import LayerCache
from paramctl.store.keras.layer_config import (
    GRAPHS,
    MALFORMED,
    MODELS,
    InboundNode,
    flat_tensors,
    input_shape,
    is_builtin,
    layer_name,
    network_calls,
)
from paramctl.store.keras.names import prefixes

FLATTENING = ("Flatten", "Reshape")
"""Layers that flatten feature maps. One that is called twice flattens two, and the tree has one row for it."""


class Skeleton(NamedTuple):
    """The model of a configuration, and the shapes of the parameters of Keras' own layers that are not in the file."""

    model: Model
    missing: Shapes


def skeleton_model(
    config: Mapping[str, Any], parameters: Mapping[str, Parameter], name: str, cache: LayerCache
) -> Skeleton | None:
    """Return the model of a configuration with these parameters.

    Returns None if the configuration is malformed, or some parameter is in none of its layers.
    """
    try:
        configs = [layer["config"] for layer in config["config"]["layers"] if layer["class_name"] == "InputLayer"]
        inputs = tuple(
            Input(str(of_input["name"]), input_shape(of_input), str(of_input.get("dtype") or "float32"))
            for of_input in configs
        )
        builder = _SkeletonBuilder(parameters, cache)
        blocks, _ = builder.layers(config, "", [-1 - place for place in range(len(inputs))])
        outputs = tuple(str(tensor[0]) for tensor in flat_tensors(config["config"].get("output_layers", ())))
        missing = without_shared(config, builder.missing)
    except MALFORMED:
        return None
    model = Model(name, inputs, outputs, tuple(blocks))
    return Skeleton(model, missing) if model.parameters.keys() == parameters.keys() else None


class _SkeletonBuilder:
    """A builder of the blocks of a configuration, with numbered outputs. A layer has one output, of its first call."""

    def __init__(self, parameters: Mapping[str, Parameter], cache: LayerCache) -> None:
        self.cache = cache
        self.ids = count(1)
        self.below: dict[str, list[Parameter]] = {}  # the parameters below each path, in the order of the file
        for parameter in parameters.values():
            for prefix in prefixes(parameter.path.rpartition("/")[0]):
                self.below.setdefault(prefix, []).append(parameter)
        self.taken: set[str] = set()  # the parameters that have a block
        self.missing: dict[str, tuple[int, ...]] = {}

    def layers(
        self, config: Mapping[str, Any], path: str, inputs: Sequence[int]
    ) -> tuple[list[Block], tuple[int, ...]]:
        """Return the layers of a model, with the parameters below their paths, and the ids of its outputs.

        path: the model's own.
        inputs: the ids of the outputs that it takes.
        """
        layers = {layer_name(layer): layer for layer in config["config"]["layers"]}
        calls = _calls(config, layers)
        first = {name: nodes[0] if nodes else InboundNode([], {}) for name, nodes in calls.items()}
        shapes: dict[str, Sizes | None] = {}
        built = _built_shapes(first, layers)
        ambiguous = any(layer["class_name"] in FLATTENING and len(calls[name]) > 1 for name, layer in layers.items())
        output_ids: dict[str, int] = {}
        entering, blocks = iter(inputs), []
        for name, layer in layers.items():
            output_ids[name] = next(self.ids)
            if layer["class_name"] == "InputLayer":
                shapes[name], output_ids[name] = input_shape(layer["config"]), next(entering, output_ids[name])
                continue
            declared = None if ambiguous else self.declared(layer, first[name], shapes)
            shapes[name] = built.get(name) or (declared.output if declared else None)
            sources = tuple(dict.fromkeys(source for source, _, _ in first[name].inputs))
            input_ids = [output_ids.get(source, 0) for source in sources]
            block = self.block(layer, f"{path}/{name}".lstrip("/"), declared, input_ids)
            source_paths = tuple(f"{path}/{source}".lstrip("/") for source in sources)
            blocks.append(replace(block, output=shapes[name], inputs=source_paths, output_id=output_ids[name]))
        outputs = [str(tensor[0]) for tensor in flat_tensors(config["config"].get("output_layers", ()))]
        # A Sequential has no output_layers: its output is that of its last layer.
        return blocks, tuple(output_ids[name] for name in outputs or [*layers][-1:])

    def block(self, layer: Mapping[str, Any], path: str, declared: Block | None, input_ids: Sequence[int]) -> Block:
        """Return a layer, or a model within the model, as a block.

        declared: the layer as a document builds it. It is ignored unless the file has the same parameters.
        """

        is_model = layer["class_name"] in MODELS
        inner, inner_ids = self.layers(layer, path, input_ids) if is_model else ([], ())
        parameters = [parameter for parameter in self.below.get(path, ()) if parameter.path not in self.taken]
        self.taken.update(parameter.path for parameter in parameters)
        expected: dict[str, Parameter] = {}
        if declared is not None:
            expected = {f"{path}/{parameter.path.partition('/')[2]}": parameter for parameter in declared.parameters}
        # a custom class may have the name of a class of Keras, and other parameters
        shapes = {parameter.path: parameter.shape for parameter in parameters}
        needed = {name: parameter.shape for name, parameter in expected.items()}
        fits = needed == shapes
        if shapes.items() <= needed.items() and is_builtin(layer):
            self.missing |= {name: shape for name, shape in needed.items() if name not in shapes}
        return Block(
            path=path,
            type=snake_case(str(layer["class_name"])),
            output=None,
            inputs=(),
            parameters=tuple(
                _described(parameter, expected.get(parameter.path) if fits else None) for parameter in parameters
            ),
            blocks=tuple(inner),
            layer=declared.layer if declared and fits and not is_model else None,
            input_ids=tuple(input_ids),
            inner_ids=inner_ids,
        )

    def declared(self, layer: Mapping[str, Any], call: InboundNode, shapes: Mapping[str, Sizes | None]) -> Block | None:
        """Return a layer as a document builds it; None if no document does, or the shape of an input is unknown."""
        sources = dict.fromkeys(source for source, _, _ in call.inputs)
        names = {source: f"x{number}" for number, source in enumerate(sources)}
        known = {name: shape[1:] for source, name in names.items() if (shape := shapes.get(source)) is not None}
        if not known or len(known) < len(names):
            return None
        return self.cache.block(layer, known, [names[source] for source, _, _ in call.inputs], call.options)


def _described(parameter: Parameter, declared: Parameter | None) -> Parameter:
    """Return a parameter with the facts of the same parameter in a document, if one declares it."""
    if declared is None:
        return parameter
    trainable = declared.trainable if parameter.trainable is None else parameter.trainable
    return replace(declared, path=parameter.path, dtype=parameter.dtype, trainable=trainable)


def _calls(config: Mapping[str, Any], layers: Mapping[str, Any]) -> dict[str, list[InboundNode]]:
    """Return the calls of each layer. In a Sequential each layer takes the output of the one before it."""
    if config["class_name"] in GRAPHS:
        return dict(network_calls(config["config"]).nodes)
    names = [*layers]
    return {name: [InboundNode([(names[place - 1], 0, 0)] if place else [], {})] for place, name in enumerate(names)}


def _built_shapes(first: Mapping[str, InboundNode], layers: Mapping[str, Any]) -> dict[str, Sizes]:
    """Return the output shapes of layers, where a layer that takes one output alone was built for its shape.

    first: the first call of each layer.
    """
    shapes: dict[str, Sizes] = {}
    for name, call in first.items():
        shape = layers[name].get("build_config", {}).get("input_shape")
        complete = isinstance(shape, list) and all(size is None or type(size) is int for size in shape)
        if complete and len(call.inputs) == 1:
            shapes.setdefault(call.inputs[0][0], tuple(shape))
    return shapes

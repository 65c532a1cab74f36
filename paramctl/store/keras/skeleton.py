"""The tree of a Keras configuration that no document can say, as of somebody's own classes: layers as they are listed.

Nothing is inferred but what the configuration tells: classes, names, what each layer takes, whether it is trained. A
layer of Keras' own among them is what a document would say of it, where the shapes that it takes are known: from its
sources, or from a layer that was built for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from paramctl.core.parameter import Parameter
from paramctl.model import Block, Input, Model
from paramctl.model.layers import Sizes
from paramctl.model.layers.base import snake_case
from paramctl.store.keras.from_config import GRAPHS, MALFORMED, MODELS, Called, calls, is_known, name_of, tensors
from paramctl.store.keras.layer_cache import LayerCache

SHAPERS = ("Flatten", "Reshape")
"""Layers that lay an image flat: where one is called twice, which image that is of is not told by a layer's name."""


def sketch(
    config: Mapping[str, Any], parameters: Mapping[str, Parameter], name: str, known: LayerCache
) -> Model | None:
    """The model of a configuration with these parameters in it; None if it cannot be read, or has not all of them."""
    try:
        inputs = tuple(
            Input(str(of["name"]), _batch_shape(of), str(of.get("dtype") or "float32"))
            for of in (layer["config"] for layer in config["config"]["layers"] if layer["class_name"] == "InputLayer")
        )
        given = [-1 - place for place in range(len(inputs))]
        blocks, _ = _Sketcher(parameters, known).layers(config, "", given)
        outputs = tuple(str(each[0]) for each in tensors(config["config"].get("output_layers", ())))
    except MALFORMED:
        return None
    made = Model(name, inputs, outputs, tuple(blocks))
    return made if made.parameters.keys() == parameters.keys() else None


def names(config: Mapping[str, Any], counts: Mapping[str, int], known: LayerCache) -> dict[str, list[str]]:
    """What the variables of layers are called, by the path that they are in, where class and options tell.

    counts: how many variables with unknown names each path has.
    """
    made: dict[str, list[str]] = {}
    around = {above for folder in counts for above in _prefixes(folder)}
    try:
        for path, layer in leaves(config, ""):
            if path in around:
                for name in _variables(layer, known):
                    folder, _, last = f"{path}/{name}".rpartition("/")
                    made.setdefault(folder, []).append(last)
    except MALFORMED:
        return {}
    return {folder: found for folder, found in made.items() if len(found) == counts.get(folder)}


def _prefixes(path: str) -> Iterator[str]:
    """A path, and the ones that it is in."""
    while path:
        yield path
        path = path.rpartition("/")[0]


def _variables(layer: Mapping[str, Any], known: LayerCache) -> list[str]:
    """The variables of a layer that a document knows, by their paths within it."""
    shape = layer.get("build_config", {}).get("input_shape")
    block = known.block(layer, {"x": shape[1:]}, ["x"]) if shape else None
    return [each.path.partition("/")[2] for each in block.parameters] if block else []


def leaves(config: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The layers of a configuration that are no models themselves, and their paths."""
    for layer in config["config"]["layers"]:
        inside = f"{path}/{name_of(layer)}".lstrip("/")
        if layer["class_name"] in MODELS:
            yield from leaves(layer, inside)
        else:
            yield inside, layer


class _Sketcher:
    """Makes the blocks of a configuration, and numbers the outputs of layers, each by its first call."""

    def __init__(self, parameters: Mapping[str, Parameter], known: LayerCache) -> None:
        self.known = known
        self.numbers = count(1)
        self.below: dict[str, list[Parameter]] = {}  # by each path, those in it; in the order of all
        for each in parameters.values():
            for path in _prefixes(each.path.rpartition("/")[0]):
                self.below.setdefault(path, []).append(each)
        self.taken: set[str] = set()

    def layers(self, config: Mapping[str, Any], path: str, given: Sequence[int]) -> tuple[list[Block], tuple[int, ...]]:
        """The layers of a model with the parameters whose paths begin with theirs, and the outputs that it gives.

        given: the numbers of the outputs that are its inputs.
        """
        listed = {name_of(layer): layer for layer in config["config"]["layers"]}
        every = _calls(config, listed)
        first = {name: made[0] if made else Called([], {}) for name, made in every.items()}
        built = _built(first, listed)
        again = any(layer["class_name"] in SHAPERS and len(every[name]) > 1 for name, layer in listed.items())
        shapes: dict[str, Sizes | None] = {}
        gives: dict[str, int] = {}
        entering, blocks = iter(given), []
        for name, layer in listed.items():
            gives[name] = next(self.numbers)
            if layer["class_name"] == "InputLayer":
                shapes[name], gives[name] = _batch_shape(layer["config"]), next(entering, gives[name])
                continue
            known = None if again else self.as_in_document(layer, first[name], shapes)
            shapes[name] = built.get(name) or (known.output if known else None)
            sources = tuple(dict.fromkeys(each[0] for each in first[name].takes))
            block = self.block(layer, f"{path}/{name}".lstrip("/"), known, [gives.get(each, 0) for each in sources])
            inputs = tuple(f"{path}/{source}".lstrip("/") for source in sources)
            blocks.append(replace(block, output=shapes[name], inputs=inputs, output_id=gives[name]))
        ends = [str(each[0]) for each in tensors(config["config"].get("output_layers", ()))] or [*listed][-1:]
        return blocks, tuple(gives[name] for name in ends)

    def block(self, layer: Mapping[str, Any], path: str, known: Block | None, takes: Sequence[int]) -> Block:
        is_model = layer["class_name"] in MODELS
        inner, ends = self.layers(layer, path, takes) if is_model else ([], ())
        own = [each for each in self.below.get(path, ()) if each.path not in self.taken]
        self.taken.update(each.path for each in own)
        frozen, classed = layer["config"].get("trainable") is False, is_known(layer)
        declared = {f"{path}/{each.path.partition('/')[2]}": each for each in known.parameters} if known else {}
        fits = {name: each.shape for name, each in declared.items()} == {each.path: each.shape for each in own}
        return Block(
            path=path,
            type=snake_case(str(layer["class_name"])),
            output=None,
            inputs=(),
            parameters=tuple(_told(each, frozen, classed, declared.get(each.path) if fits else None) for each in own),
            blocks=tuple(inner),
            layer=known.layer if known and fits and not is_model else None,
            input_ids=tuple(takes),
            inner_ids=ends,
        )

    def as_in_document(
        self, layer: Mapping[str, Any], called: Called, shapes: Mapping[str, Sizes | None]
    ) -> Block | None:
        """A layer as a document would have it, if a document can, and the shapes of what it takes are known."""
        names = {source: f"x{number}" for number, source in enumerate(dict.fromkeys(each[0] for each in called.takes))}
        given = {name: shape[1:] for source, name in names.items() if (shape := shapes.get(source)) is not None}
        if not given or len(given) < len(names):
            return None
        return self.known.block(layer, given, [names[source] for source, _, _ in called.takes], called.options)


def _batch_shape(of: Mapping[str, Any]) -> Sizes:
    return tuple(of.get("batch_shape") or of["batch_input_shape"])


def _told(parameter: Parameter, frozen: bool, classed: bool, declared: Parameter | None) -> Parameter:
    """A parameter with what its layer says of it, and of its training; of a class not known, only that it is frozen."""
    if declared is not None:
        trainable = declared.trainable and parameter.trainable is not False and not frozen
        return replace(declared, path=parameter.path, dtype=parameter.dtype, trainable=trainable)
    if frozen:
        return replace(parameter, trainable=False)
    known = classed and parameter.kind != "unknown" and parameter.trainable is None
    return replace(parameter, trainable=parameter.kind != "state") if known else parameter


def _calls(config: Mapping[str, Any], listed: Mapping[str, Any]) -> dict[str, list[Called]]:
    """By each layer's name, its calls."""
    if config["class_name"] in GRAPHS:
        return {name: calls(layer) for name, layer in listed.items()}
    order = [*listed]
    return {name: [Called([(order[place - 1], 0, 0)] if place else [], {})] for place, name in enumerate(order)}


def _built(first: Mapping[str, Called], listed: Mapping[str, Any]) -> dict[str, Sizes]:
    """The shapes of outputs that some layer alone takes, which was built for a shape."""
    made: dict[str, Sizes] = {}
    for name, called in first.items():
        shape = listed[name].get("build_config", {}).get("input_shape")
        whole = isinstance(shape, list) and all(size is None or type(size) is int for size in shape)
        if whole and len(called.takes) == 1:
            made.setdefault(called.takes[0][0], tuple(shape))
    return made

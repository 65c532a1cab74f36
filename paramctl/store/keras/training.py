"""The parameters that a configuration trains.

In Keras 3 a variable is trained by the setting of the layer that owns it: ``trainable`` of a wrapper or of a model
within the model sets that of the layers in it when it is assigned, and has no effect afterwards. Only a Functional as a
whole trains nothing if its own setting is false. In Keras 2 the settings of all layers around a variable count.
https://github.com/keras-team/keras/blob/master/keras/src/layers/layer.py (trainable_weights)
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, cast

from paramctl.core.parameter import Parameter
from paramctl.model.layers import LAYERS
from paramctl.store.keras.layer_config import GRAPHS, MALFORMED, inner_layers, is_builtin, layer_name, layer_type
from paramctl.store.keras.names import prefixes
from paramctl.store.keras.variables import CELLS, CONV_LSTM_CELL, FLOAT8, KERNELS, VARIABLES

ATTENTION = ("multi_head_attention", "grouped_query_attention")
"""The layers that create dense layers as they are built."""


class _Owner(NamedTuple):
    """A layer as the owner of variables: frozen by its settings, and of a class whose variables are known.

    corrected: it trains a correction of low rank (LoRA) instead of its kernel.
    """

    frozen: bool
    known: bool
    corrected: bool


class Training:
    """The settings of a configuration, None without one. inherited: those of the layers around a layer count too."""

    def __init__(self, config: Any, inherited: bool = False) -> None:
        self.owners: dict[str, _Owner] = {}
        self.nothing = False
        if config is None:
            return
        try:
            stops = config["config"].get("trainable") is False
            self.nothing = stops and (inherited or config["class_name"] in GRAPHS)
            self.owners = dict(_owners(config, inherited))
        except MALFORMED:  # the arrays are read without their training
            self.owners = {}

    def in_order(self, parameters: Mapping[str, Parameter]) -> dict[str, Parameter]:
        """Return parameters in the order of the layers that own them. Those of one layer keep their order."""
        ranks = {path: rank for rank, path in enumerate(self.owners)}
        last = len(ranks)
        rank_of = {path: next((ranks[each] for each in prefixes(path) if each in ranks), last) for path in parameters}
        return {path: parameters[path] for path in sorted(parameters, key=rank_of.__getitem__)}

    def described(self, parameter: Parameter) -> Parameter:
        """Return a parameter with trainable as its owner sets it, None where that is unknown."""
        owner = next((self.owners[path] for path in prefixes(parameter.path) if path in self.owners), None)
        if owner is None:
            return parameter
        name = parameter.path.rpartition("/")[2]
        if owner.frozen or self.nothing or (owner.corrected and name in KERNELS):
            return replace(parameter, trainable=False)
        if owner.known and parameter.kind != "unknown" and parameter.trainable is None:
            trained = parameter.kind != "state" or name in FLOAT8
            return replace(parameter, trainable=trained)
        return parameter


def layers_by_path(config: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each layer of a model, and then each that it contains, with its path."""
    stack = [("", config)]
    while stack:
        path, layer = stack.pop()
        if path:
            yield path, cast(dict[str, Any], layer)
        stack += reversed([(f"{path}/{layer_name(inner)}".lstrip("/"), inner) for inner in inner_layers(layer)])


def owner_path(layers: Collection[str], parameter: str) -> str | None:
    """Return the path of the layer that owns a parameter, or None."""
    return next((path for path in prefixes(parameter) if path in layers), None)


def _owners(config: Mapping[str, Any], inherited: bool) -> Iterator[tuple[str, _Owner]]:
    """Yield each layer of a model, and then each that it contains, with its path."""
    stack = [("", config, False)]
    while stack:
        path, layer, frozen = stack.pop()
        type_name = layer_type(str(layer["class_name"]))
        # in Keras 3, these do not pass their setting on to the layers that they create, which have the variables
        has_effect = inherited or not (CELLS.get(type_name) == CONV_LSTM_CELL or type_name in ATTENTION)
        frozen = (layer["config"].get("trainable") is False and has_effect) or (inherited and frozen)
        if path:
            known = is_builtin(layer) and (type_name in LAYERS or type_name in VARIABLES or type_name in CELLS)
            yield path, _Owner(frozen, known, corrected=known and bool(layer["config"].get("lora_rank")))
        inside = [(f"{path}/{layer_name(inner)}".lstrip("/"), inner, frozen) for inner in inner_layers(layer)]
        stack += reversed(inside)

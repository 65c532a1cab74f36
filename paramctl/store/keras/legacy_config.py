"""A configuration of Keras 2 or before, and the order in which its file lists the variables of each layer.

Keras matches the variables of a file to those of a layer by their order alone: the trained ones first, then the others
(_legacy_weights). Their names vary with the version: an LSTM has ``lstm_1/kernel``, ``lstm_1/lstm_cell/kernel`` or
``lstm_1/lstm_cell_7/kernel``, and a layer in a model within the model may or may not have the names of the models.
https://github.com/keras-team/keras/blob/master/keras/src/legacy/saving/legacy_h5_format.py
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from paramctl.core.parameter import Parameter
from paramctl.store.keras.layer_config import MALFORMED, MODELS, inner_layers, layer_name, leaf_layers
from paramctl.store.keras.training import Training

SEQUENTIAL = "Sequential"


def completed(config: Any, layer_names: Sequence[str]) -> Any:
    """Return a configuration in which every Sequential has a name and its layers, as in later versions.

    Until 2.2.2 Keras wrote a bare list of layers as the config of a Sequential.
    layer_names: those of the model's layers, as the file lists them.
    """
    try:
        return _completed(config, str(config.get("name") or "sequential"), layer_names)
    except MALFORMED:
        return config


def _completed(layer: Mapping[str, Any], name: str, layer_names: Sequence[str] = ()) -> Mapping[str, Any]:
    if layer["class_name"] not in MODELS:
        return layer
    config = layer["config"]
    if isinstance(config, list):
        config = {"name": name, "layers": config}
    listed = layer_names if len(layer_names) == len(config["layers"]) else ()
    numbered = [f"sequential_{number}" for number in range(1, 1 + len(config["layers"]))]
    names = listed or numbered
    inner = [
        _completed(member, str(member.get("name") or other))
        for member, other in zip(config["layers"], names, strict=True)
    ]
    return {**layer, "config": {**config, "layers": inner}}


def legacy_order(config: Any, parameters: Mapping[str, Parameter], training: Training) -> dict[str, list[str]]:
    """Return the paths of a model's parameters by the layer of the model that has them, in the order of a file."""
    inside: dict[str, list[Parameter]] = {}
    for path, parameter in parameters.items():
        inside.setdefault(path.partition("/")[0], []).append(parameter)
    rank = {path: place for place, (path, _) in enumerate(leaf_layers(config))}
    frozen = {layer_name(layer) for layer in config["config"]["layers"] if layer["config"].get("trainable") is False}
    order = {}
    for layer, members in inside.items():
        members.sort(key=lambda parameter: _rank(parameter.path, rank))
        if layer not in frozen:
            members.sort(key=lambda parameter: not _is_trained(parameter, training))
        order[layer] = [parameter.path for parameter in members]
    return order


def _rank(path: str, rank: Mapping[str, int]) -> int:
    while path and path not in rank:
        path = path.rpartition("/")[0]
    return rank.get(path, -1)


def _is_trained(parameter: Parameter, training: Training) -> bool:
    return training.described(replace(parameter, trainable=None)).trainable is True


def inner_paths(config: Any) -> dict[str, dict[str, str]]:
    """Return the paths of the layers within each layer of a model, by their names, where a name occurs once."""
    paths: dict[str, dict[str, str]] = {}
    try:
        for layer in config["config"]["layers"]:
            found = list(_inside(layer, layer_name(layer)))
            counts = Counter(name for name, _ in found)
            paths[layer_name(layer)] = {name: path for name, path in found if counts[name] == 1}
    except MALFORMED:
        return {}
    return paths


def _inside(layer: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    for inner in inner_layers(layer):
        name = layer_name(inner)
        yield name, f"{path}/{name}"
        yield from _inside(inner, f"{path}/{name}")

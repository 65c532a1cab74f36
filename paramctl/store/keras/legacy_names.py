"""The layout of Keras 2 (``.h5``): the names of its variables in Keras.

The attribute ``layer_names`` lists the layers in order, and ``weight_names`` of each layer's group its variables:
``dense_1/kernel:0`` in the group ``dense_1``. A whole model has these below the group ``model_weights``.
Keras 3 writes the same layout with whole variable paths, ``sequential/dense_1/kernel``.
https://github.com/keras-team/keras/blob/master/keras/src/legacy/saving/legacy_h5_format.py
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from paramctl.store.keras.names import GroupAttributes, KerasVariable, repeated
from paramctl.store.keras.variables import DENSE_AXES, is_quantized, variable_attributes

TOP_LEVEL = "top_level_model_weights"
"""The group of the variables that a model owns itself (save_weights_to_hdf5_group)."""


class _Weight(NamedTuple):
    """A variable as a file lists it: its layer, and the segments of its name without the ``:0``."""

    layer: str
    segments: list[str]


def keras2_variables(
    arrays: Sequence[Mapping[str, Any]], groups: GroupAttributes, config: Any = None
) -> dict[str, KerasVariable]:
    """Return the parameters of a Keras 2 file by their stored paths, in Keras' order."""
    # save_weights writes the layers at the root, save below model_weights
    root = "" if "layer_names" in groups.get("", {}) else "model_weights/"
    stored = {array["path"]: array for array in arrays}
    weights: dict[str, _Weight] = {}
    for layer in [*groups[root.rstrip("/")]["layer_names"], TOP_LEVEL]:
        for name in groups.get(f"{root}{layer}", {}).get("weight_names", ()):
            if (path := f"{root}{layer}/{name}") in stored:
                weights[path] = _Weight(layer, re.sub(r":\d+$", "", name).split("/"))
    paths = _paths(weights, _model_name(config, list(weights.values())))
    quantized = {
        paths[path].rpartition("/")[0]
        for path, weight in weights.items()
        if is_quantized(weight.segments[-1], stored[path])
    }
    variables: dict[str, KerasVariable] = {}
    for path, full in paths.items():
        folder, _, name = full.rpartition("/")
        axes = DENSE_AXES["bias"] if name == "bias" else ()
        implied = variable_attributes(name, stored[path]["dtype"], axes, quantized=folder in quantized)
        variables[path] = KerasVariable(full, implied)
    return variables


def _model_name(config: Any, weights: Sequence[_Weight]) -> str | None:
    """Return the name of the model if weight names begin with it, as Keras 3 writes them: ``<model>/<layer>/kernel``.

    Without a configuration, return the one name that precedes the layer in every weight name.
    """
    candidates = {
        weight.segments[0] for weight in weights if weight.segments[1:2] == [weight.layer] and len(weight.segments) > 2
    }
    try:
        name = config["config"]["name"]
    except (KeyError, TypeError):
        layers = [weight for weight in weights if weight.layer != TOP_LEVEL]
        everywhere = all(weight.segments[1:2] == [weight.layer] for weight in layers)
        return min(candidates) if len(candidates) == 1 and everywhere else None
    return name if name in candidates else None


def _paths(weights: Mapping[str, _Weight], model: str | None) -> dict[str, str]:
    """Return the path of each variable in Keras: its layer, then its name without the model's and the layer's.

    Variables that would get equal paths keep their whole names, or else their stored paths.
    """
    short, whole = {}, {}
    for path, (layer, segments) in weights.items():
        owner = [] if layer == TOP_LEVEL else [layer]
        with_model = model is not None and segments[0] == model and len(segments) > 1 + len(owner)
        # lstm/lstm_cell/kernel of the layer lstm: its own name is left out, that of the cell is not
        rest = segments[1:] if with_model else segments
        rest = rest[1:] if len(rest) > 1 and rest[0] == layer else rest
        short[path] = "/".join([*owner, *rest])
        whole[path] = "/".join([*owner, *segments])
    clashes = repeated(short)
    paths = {path: whole[path] if name in clashes else name for path, name in short.items()}
    clashes = repeated(paths)
    return {path: path if name in clashes else name for path, name in paths.items()}

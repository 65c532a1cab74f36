"""The layout of Keras 2 (``.h5``): the names of its variables in Keras.

The attribute ``layer_names`` lists the layers in order, and ``weight_names`` of each layer's group its variables:
``dense_1/kernel:0`` in the group ``dense_1``. A whole model has these below the group ``model_weights``.
Keras 3 writes the same layout with whole variable paths, ``sequential/dense_1/kernel``.
https://github.com/keras-team/keras/blob/master/keras/src/legacy/saving/legacy_h5_format.py
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from typing import Any, NamedTuple

from paramctl.store.keras.legacy_config import inner_paths
from paramctl.store.keras.names import GroupAttributes, KerasVariable, repeated
from paramctl.store.keras.variables import DENSE_AXES, SPECTRAL, is_quantized, variable_attributes

TOP_LEVEL = "top_level_model_weights"
"""The group of the variables that a model owns itself (save_weights_to_hdf5_group)."""
GATES = {4: "lstm_cell", 3: "gru_cell", 1: "simple_rnn_cell"}
"""The cell whose kernels have so many parts for each unit."""
KERAS1_NAMES = {
    "W": "kernel",
    "U": "recurrent_kernel",
    "b": "bias",
    "gamma": "gamma",
    "beta": "beta",
    "running_mean": "moving_mean",
    "running_std": "moving_variance",
}
_GATE = re.compile(r"[WUb]_[a-z]")
"""A kernel of one gate in Keras 1, such as ``W_i`` of an LSTM."""
_CELL = re.compile(rf"({'|'.join(GATES.values())})(_\d+)?")
RECURRENT, DEPTHWISE = {"kernel", "recurrent_kernel"}, {"depthwise_kernel"}


class _Weight(NamedTuple):
    """A variable as a file lists it.

    layer: the layer of the model that has it. place: its number there. segments: its name without the ``:0``.
    """

    layer: str
    place: int
    segments: list[str]
    shape: tuple[int, ...]


def keras2_variables(
    arrays: Sequence[Mapping[str, Any]], groups: GroupAttributes, config: Any = None
) -> dict[str, KerasVariable]:
    """Return the parameters of a Keras 2 file by their stored paths, in Keras' order."""
    root = weights_root(groups)
    stored = {array["path"]: array for array in arrays}
    weights: dict[str, _Weight] = {}
    for layer in [*groups[root.rstrip("/")]["layer_names"], TOP_LEVEL]:
        for place, name in enumerate(groups.get(f"{root}{layer}", {}).get("weight_names", ())):
            if (path := f"{root}{layer}/{name}") in stored:
                segments = re.sub(r":\d+$", "", name).split("/")
                weights[path] = _Weight(layer, place, segments, tuple(stored[path]["shape"]))
    paths = _paths(weights, _model_name(config, list(weights.values())), inner_paths(config) if config else {})
    layers: dict[str, dict[str, str]] = {}  # the dtypes of each layer's variables
    for path, full in paths.items():
        folder, _, name = full.rpartition("/")
        layers.setdefault(folder, {})[name] = stored[path]["dtype"]
    quantized = {folder for folder, dtypes in layers.items() if is_quantized(dtypes)}
    variables: dict[str, KerasVariable] = {}
    for path, full in paths.items():
        folder, _, name = full.rpartition("/")
        axes = DENSE_AXES["bias"] if name == "bias" else ()
        name = _name_since_keras2(name, weights[path].layer)
        implied = variable_attributes(name, stored[path]["dtype"], axes, quantized=folder in quantized)
        variables[path] = KerasVariable(full, implied, weights[path].layer, weights[path].place)
    return variables


def _name_since_keras2(name: str, layer: str) -> str:
    """Return the name of the variables that have the same role since Keras 2: bias for ``dense_1_b`` of Keras 1.

    The path keeps the old name, because the values may have another layout: Theano's kernels are flipped.
    """
    part = name.removeprefix(f"{layer}_") if name.startswith(f"{layer}_") else ""
    if part in KERAS1_NAMES or _GATE.fullmatch(part):
        return KERAS1_NAMES[part[:1] if part not in KERAS1_NAMES else part]
    return name


def weights_root(groups: GroupAttributes) -> str:
    """Return the group of the layers, with a slash: save_weights writes them at the root, save below model_weights."""
    return "" if "layer_names" in groups.get("", {}) else "model_weights/"


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


def _paths(weights: Mapping[str, _Weight], model: str | None, inner: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return the path of each variable in Keras: its layer, then its name without the model's and the layer's.

    Variables that would get equal paths keep their whole names, or else their stored paths.
    inner: the paths of the layers within each layer, by their names.
    """
    short, whole = {}, {}
    for path, (layer, _, segments, _) in weights.items():
        owner = [] if layer == TOP_LEVEL else [layer]
        with_model = model is not None and segments[0] == model and len(segments) > 1 + len(owner)
        # lstm/lstm_cell/kernel of the layer lstm: its own name is left out, that of the cell is not
        rest = segments[1:] if with_model else segments
        rest = rest[1:] if len(rest) > 1 and rest[0] == layer else rest
        short[path] = _whole_path(owner, rest, inner.get(layer, {}))
        whole[path] = "/".join([*owner, *segments])
    listed = {path for names in inner.values() for path in names.values()}
    short |= _with_cells(short, weights, listed)
    short |= _depthwise_kernels(short, weights)
    clashes = repeated(short)
    paths = {path: whole[path] if name in clashes else name for path, name in short.items()}
    clashes = repeated(paths)
    return {path: path if name in clashes else name for path, name in paths.items()}


def _whole_path(owner: Sequence[str], segments: Sequence[str], inner: Mapping[str, str]) -> str:
    """Return the path of a variable, with the names of all models and layers that contain its layer."""
    for place in range(len(segments) - 2, -1, -1):
        if segments[place] in inner:
            return "/".join([inner[segments[place]], *segments[place + 1 :]])
    if len(inner) == 1 and segments[-1] != SPECTRAL:  # time_distributed_1/kernel, without the layer that it wraps
        return "/".join([*inner.values(), *segments])
    return "/".join([*owner, *segments])


def _with_cells(paths: Mapping[str, str], weights: Mapping[str, _Weight], listed: Container[str]) -> dict[str, str]:
    """Return the paths of the variables of recurrent layers with the name of the cell that Keras 3 gives it.

    Keras 2 may leave the cell out, or give it a number.
    listed: the paths of layers in the configuration, which keep their names.
    """
    renamed = {}
    for folder, members in _folders(paths, RECURRENT).items():
        parent, _, last = folder.rpartition("/")
        if match := _CELL.fullmatch(last):
            if folder in listed:
                continue
            cell, layer = match[1], parent
        else:
            recurrent = weights[members["recurrent_kernel"]].shape
            kernel = weights[members["kernel"]].shape
            parts, rest = divmod(recurrent[-1], recurrent[0]) if len(recurrent) == 2 and recurrent[0] else (0, 1)
            if rest or parts not in GATES or len(kernel) != 2 or not _has_plain_bias(members, weights, recurrent[-1]):
                continue  # of another class, such as ConvLSTM2D and CuDNNLSTM
            cell, layer = GATES[parts], folder
        for name, path in members.items():
            renamed[path] = "/".join(filter(None, (layer, cell, name)))
    clashes = repeated({path: renamed.get(path, name) for path, name in paths.items()})
    return {path: name for path, name in renamed.items() if name not in clashes}


def _has_plain_bias(members: Mapping[str, str], weights: Mapping[str, _Weight], size: int) -> bool:
    """Return whether a bias is as the cells of Keras 3 have it: one vector, or two rows in a GRU. A layer may lack it.

    size: of a kernel's last axis. The bias of CuDNNLSTM has twice that size.
    """
    return "bias" not in members or weights[members["bias"]].shape in ((size,), (2, size))


def _depthwise_kernels(paths: Mapping[str, str], weights: Mapping[str, _Weight]) -> dict[str, str]:
    """Return the paths of the kernels of DepthwiseConv2D. A separable convolution has a pointwise kernel too."""
    return {
        members["depthwise_kernel"]: f"{folder}/kernel"
        for folder, members in _folders(paths, DEPTHWISE).items()
        if members.keys() <= {"depthwise_kernel", "bias"} and len(weights[members["depthwise_kernel"]].shape) > 2
    }


def _folders(paths: Mapping[str, str], required: set[str]) -> dict[str, dict[str, str]]:
    """Return the stored paths of variables by folder and name, for the folders that have these names."""
    folders: dict[str, dict[str, str]] = {}
    for path, full in paths.items():
        folder, _, name = full.rpartition("/")
        folders.setdefault(folder, {})[name] = path
    return {folder: members for folder, members in folders.items() if required <= members.keys()}

"""Keras' files: the names that its layers' arrays have in Keras, for what lies in HDF5 under others.

Keras 3 (``.weights.h5``, and within ``.keras``): the object at a path P keeps its variables in ``P/vars/0``, ``1``, ...
A child of a list is called by its class in snake_case, numbered; ``P/vars`` tells its own name. Keras 2 (``.h5``): the
attributes layer_names and weight_names. What an optimizer or a metric keeps is told apart.
https://github.com/keras-team/keras/blob/master/keras/src/saving/saving_lib.py, legacy/hdf5_format.py
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from paramctl.errors import ParamctlError
from paramctl.model import Document, from_document
from paramctl.store.keras import from_config
from paramctl.store.keras.from_config import MALFORMED, is_own
from paramctl.store.keras.layer_cache import LayerCache
from paramctl.store.keras.skeleton import leaves, names
from paramctl.store.keras.variables import DENSE_AXES, OUTPUT_AXES, QUERY_AXES, is_quantized, says, variables_of

_APART = re.compile(r"(.*_)?(optimizers?|optimizer_weights|metrics|loss_tracker)")
"""What the attributes are called in which a model keeps what is no parameter."""
_SEEDS = re.compile(r"(.*_)?seed_generator(_\d+)?")
LISTS = ("layers", "_layer_checkpoint_dependencies")
_VARIABLE = re.compile(r"(?:(.*)/)?vars/(\d+)")
_NUMBERED = re.compile(r"(.+?)(?:_(\d+))?")

PARTS = {"query_dense": QUERY_AXES, "key_dense": QUERY_AXES, "value_dense": QUERY_AXES, "output_dense": OUTPUT_AXES}
RECURRENT = ("lstm", "gru", "simple_rnn")
WRAPPERS = ("time_distributed", "spectral_normalization")


class Named(NamedTuple):
    """What Keras calls an array, and what is known of it."""

    path: str
    says: dict[str, Any]


def is_keras3(arrays: Sequence[Mapping[str, Any]], told: Mapping[str, Any]) -> bool:
    """Whether a file has the layout of Keras 3."""
    return "vars" in told and any(_VARIABLE.fullmatch(each["path"]) for each in arrays)


def is_keras2(told: Mapping[str, Any]) -> bool:
    """Whether a file has the layout of Keras 2: weights alone, or a whole model."""
    return "layer_names" in told.get("", {}) or "layer_names" in told.get("model_weights", {})


def names3(arrays: Sequence[Mapping[str, Any]], told: Mapping[str, Any]) -> dict[str, Named]:
    """What each array of a Keras 3 file is called, by its stored path, in Keras' order; without what stands apart."""
    objects: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    for each in arrays:
        found = _VARIABLE.fullmatch(each["path"])
        path = found[1] or "" if found else ""
        if found and not is_apart(path) and not _SEEDS.fullmatch(path.rpartition("/")[2]):
            objects.setdefault(path, []).append((int(found[2]), each))
    shown = _shown(objects, told)
    made: dict[str, Named] = {}
    for path, variables in objects.items():
        variables.sort(key=lambda each: each[0])
        kind = _class_of(path, told)
        names = variables_of(kind, variables)
        quantized = is_quantized(names[0], variables[0][1])
        axes = PARTS.get(path.rpartition("/")[2], DENSE_AXES if kind in ("dense", "lstm_cell", "gru_cell") else {})
        for (_, each), name in zip(variables, names, strict=True):
            full = f"{shown[path]}/{name}" if shown[path] else name
            of_name = says(name, each["dtype"], axes.get(name, ()), len(each["shape"]), quantized)
            made[each["path"]] = Named(full, of_name)
    return made


def is_apart(path: str) -> bool:
    """Whether an object is an optimizer or a metric, or in one: children of a list called layers never are."""
    segments = path.split("/")
    return any(
        _APART.fullmatch(segment) and (not place or segments[place - 1] not in LISTS)
        for place, segment in enumerate(segments)
    )


def without_own_classes(config: Any, named: Mapping[str, Named]) -> Mapping[str, Named]:
    """The same names; but numbers in layers of a class that a configuration says is not Keras', whatever its name."""
    try:
        others = {path for path, layer in leaves(config, "") if not is_own(layer)}
    except MALFORMED:
        return named
    made = dict(named)
    for stored, of in named.items():
        folder = of.path.rpartition("/")[0]
        if folder in others:
            made[stored] = Named(f"{folder}/{stored.rpartition('/')[2]}", {})
    return made


def _class_of(path: str, told: Mapping[str, Any]) -> str | None:
    """The class of the layer at a path, in snake_case, where the path tells it."""
    folder, _, segment = path.rpartition("/")
    if folder and f"{folder}/vars" not in told:  # in a list, whose children are called by their class
        found = _NUMBERED.fullmatch(segment)
        return found[1] if found else None
    if segment in PARTS or segment in {f"_{part}" for part in PARTS}:
        return "dense"
    if segment == "cell":
        parent = _class_of(folder, told)
        return f"{parent}_cell" if parent in RECURRENT else _automatic(path, told)
    if segment == "layer" and _class_of(folder, told) in WRAPPERS:
        return _automatic(path, told)
    return None


def _automatic(path: str, told: Mapping[str, Any]) -> str | None:
    """The class that the name of an object tells, if Keras gave it the name."""
    named = _NUMBERED.fullmatch(str(told.get(f"{path}/vars", {}).get("name", "")))
    return named[1] if named else None


def _shown(paths: Iterable[str], told: Mapping[str, Any]) -> dict[str, str]:
    """What each object is called: the names of the objects on the way to it, and its own."""
    within: dict[str, dict[str, list[str]]] = {}  # by the path of an object, the way from it to those in it
    for path in paths:
        parent, here, way = "", "", []
        for segment in path.split("/") if path else ():
            here = f"{here}/{segment}" if here else segment
            way.append(segment)
            if f"{here}/vars" in told:
                within.setdefault(parent, {})[here] = way
                parent, way = here, []
    made = {"": ""}
    for parent, children in within.items():
        for path, name in _siblings(children, told).items():
            made[path] = f"{made[parent]}/{name}" if made[parent] else name
    doubled = _doubled(made)
    return {path: path if name in doubled else name for path, name in made.items()}


def _siblings(children: Mapping[str, Sequence[str]], told: Mapping[str, Any]) -> Mapping[str, str]:
    """What the objects in another are called, lists and dicts left out.

    Where two would have one name, a list's stays in it; or attributes and classes name both.
    """
    own = {path: _own_name(path, told) or way[-1] for path, way in children.items()}
    lists = {path: "/".join(way[:-1]) for path, way in children.items()}
    ways = {path: "/".join(way) for path, way in children.items()}
    doubled = _doubled(own)
    kept = {lists[path] for path, name in own.items() if name in doubled} - {"", *LISTS}
    made = {path: f"{lists[path]}/{name}" if lists[path] in kept else name for path, name in own.items()}
    doubled = _doubled(made)
    made = {path: ways[path] if name in doubled else name for path, name in made.items()}
    return ways if _doubled(made) else made


def _doubled(names: Mapping[str, str]) -> set[str]:
    return {name for name, count in Counter(names.values()).items() if count > 1}


def _own_name(path: str, told: Mapping[str, Any]) -> str | None:
    own = told[f"{path}/vars"].get("name")
    return own if isinstance(own, str) and own and "/" not in own else None


def told_names(told: Mapping[str, Any], apart: bool = False) -> dict[str, str]:
    """What the objects of a Keras 3 file call themselves, by their paths; "" where they do not tell.

    apart: an optimizer's and metrics' instead.
    """
    return {
        path.removesuffix("vars").rstrip("/"): str(said.get("name") or "")
        for path, said in told.items()
        if f"/{path}".endswith("/vars") and is_apart(path) == apart
    }


def names2(arrays: Sequence[Mapping[str, Any]], told: Mapping[str, Any], config: Any = None) -> dict[str, Named]:
    """What each array of a Keras 2 file is called, by its stored path, in Keras' order."""
    root = "" if "layer_names" in told.get("", {}) else "model_weights/"
    there = {each["path"]: each for each in arrays}
    ways: dict[str, tuple[str, list[str]]] = {}
    for layer in [*told[root.rstrip("/")]["layer_names"], "top_level_model_weights"]:
        for weight in told.get(f"{root}{layer}", {}).get("weight_names", ()):
            if f"{root}{layer}/{weight}" in there:
                ways[f"{root}{layer}/{weight}"] = layer, re.sub(r":\d+$", "", weight).split("/")
    shown = _shown2(ways, _model_name(config, ways))
    quantized = {shown[path].rpartition("/")[0] for path in ways if is_quantized(ways[path][1][-1], there[path])}
    made: dict[str, Named] = {}
    for path, full in shown.items():
        folder, _, name = full.rpartition("/")
        axes = DENSE_AXES["bias"] if name == "bias" else ()
        made[path] = Named(full, says(name, there[path]["dtype"], axes, quantized=folder in quantized))
    return made


def _model_name(config: Any, ways: Mapping[str, tuple[str, list[str]]]) -> str | None:
    """The name of the model where the names of weights begin with it, as Keras 3 has them: <model>/<layer>/kernel."""
    first = {way[0] for layer, way in ways.values() if way[1:2] == [layer] and len(way) > 2}
    try:
        name = config["config"]["name"]
    except (KeyError, TypeError):
        every = all(way[1:2] == [layer] for layer, way in ways.values() if layer != "top_level_model_weights")
        return min(first) if len(first) == 1 and every else None
    return name if name in first else None


def _shown2(ways: Mapping[str, tuple[str, list[str]]], model: str | None) -> dict[str, str]:
    """What each array is called: its layer, and within it what its own name says, without the layer's; see _model_name.

    ways: the layer and the name of each, by its stored path.
    """
    made, whole = {}, {}
    for path, (layer, way) in ways.items():
        own = [] if layer == "top_level_model_weights" else [layer]
        inside = way[1:] if model is not None and way[0] == model and len(way) > 1 + len(own) else way
        made[path] = "/".join([*own, *(inside[1:] if inside[:-1][:1] == [layer] else inside)])
        whole[path] = "/".join([*own, *way])
    doubled = _doubled(made)
    made = {path: whole[path] if name in doubled else name for path, name in made.items()}
    doubled = _doubled(made)
    return {path: path if name in doubled else name for path, name in made.items()}


def document_of(config: Any) -> Document | None:
    """The document of a Keras configuration; None if it cannot be said in one."""
    try:
        made = from_config.document(config)
        text = json.dumps(made, indent=1)
    except (from_config.UnsupportedConfig, ValueError):
        return None
    return Document(text, str(made["name"]), {}, ())


def by_document(document: Document, shapes: Mapping[str, tuple[int, ...]], source: str) -> dict[str, str]:
    """For each array, by its name, what the document calls it; nothing unless they are the same arrays.

    Names that are only numbers, for the class did not tell them, are the document's in its order.
    """
    try:
        parameters = from_document(document, source).parameters
    except ParamctlError:
        return {}
    folders: dict[str, list[str]] = {}
    for path in parameters:
        folders.setdefault(path.rpartition("/")[0], []).append(path)
    made = {}
    for path in shapes:
        folder, _, name = path.rpartition("/")
        place = int(name) if name.isdecimal() else -1
        there = folders.get(folder, ())
        made[path] = there[place] if 0 <= place < len(there) else path
    same = {made[path]: shape for path, shape in shapes.items()} == {p.path: p.shape for p in parameters.values()}
    return made if same and len({*made.values()}) == len(made) else {}


def by_class(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], known: LayerCache) -> dict[str, str]:
    """For each array whose name is only a number, what its layer's class and options in a configuration say."""
    numbers = [path for path in shapes if path.rpartition("/")[2].isdecimal()]
    found = names(config, Counter(path.rpartition("/")[0] for path in numbers), known)
    folders = {path: path.rpartition("/") for path in numbers}
    there = {path: (folder, int(n)) for path, (folder, _, n) in folders.items() if int(n) < len(found.get(folder, ()))}
    return {path: f"{folder}/{found[folder][number]}" for path, (folder, number) in there.items()}

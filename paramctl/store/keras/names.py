"""The layout of Keras 3 (``.weights.h5``, and the one within ``.keras``): the names of its variables in Keras.

The object at a path P has its variables in the group ``P/vars``, as ``0``, ``1``, ... The attribute ``name`` of that
group is the object's own name. A path consists of attributes, such as ``cell``, and of containers, such as ``layers``;
a child of a container is called by its class in snake case and a number (saving_lib.py, _save_container_state).
The names of variables are not in the file: they follow from the class, as far as the path gives it.
https://github.com/keras-team/keras/blob/master/keras/src/saving/saving_lib.py
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from paramctl.core.ordering import numeric_key
from paramctl.store.keras.variables import (
    CELLS,
    DENSE_AXES,
    OUTPUT_AXES,
    QUERY_AXES,
    SPECTRAL,
    is_quantized,
    variable_attributes,
    variable_names,
)

GroupAttributes: TypeAlias = Mapping[str, Mapping[str, Any]]
"""The attributes that Keras records of each group of a file, by the group's path."""

LAYER_LISTS = ("layers", "_layer_checkpoint_dependencies")
"""The attribute of a model with its list of layers. Keras 2.12 and 2.13 wrote the second (H5IOStore.get)."""

_OPTIMIZER = re.compile(r"(.*_)?(optimizers?|optimizer_weights|metrics|loss_tracker)")
"""The attributes of a model that hold optimizers and metrics, such as ``d_optimizer`` in a GAN."""
_SEED_GENERATOR = re.compile(r"(.*_)?seed_generator(_\d+)?")
VARIABLE = re.compile(r"(?:(.*)/)?vars/(.+)", re.DOTALL)
"""The stored path of a variable: the path of its object, and its number, or its name in a class that saves its own."""
NUMBERED_VARIABLE = re.compile(r"(?:.*/)?vars/\d+", re.DOTALL)
_NUMBERED = re.compile(r"(.+?)(?:_(\d+))?")

_ATTENTION_AXES = {
    "query_dense": QUERY_AXES,
    "key_dense": QUERY_AXES,
    "value_dense": QUERY_AXES,
    "gate_dense": QUERY_AXES,
    "output_dense": OUTPUT_AXES,
}
"""The parts of MultiHeadAttention. Its gate and those of GroupedQueryAttention begin with an underscore."""
_ATTENTION_PARTS = {*_ATTENTION_AXES, *(f"_{part}" for part in _ATTENTION_AXES)}
_WRAPPERS = ("time_distributed", "spectral_normalization")


class KerasVariable(NamedTuple):
    """The path of an array in Keras, such as ``block/dense/kernel``, and what its name implies: kind, axes, trainable.

    The last part of the path is a number where the variable's name is unknown.
    owner, place: the object that has it, and its place among the variables of that object; -1 if it has none.
    """

    path: str
    attributes: dict[str, Any]
    owner: str = ""
    place: int = -1


def is_keras3(arrays: Sequence[Mapping[str, Any]], groups: GroupAttributes) -> bool:
    """Return whether a file has the layout of Keras 3."""
    return "vars" in groups and any(VARIABLE.fullmatch(array["path"]) for array in arrays)


def is_keras2(groups: GroupAttributes) -> bool:
    """Return whether a file has the layout of Keras 2: weights alone, or a whole model."""
    return "layer_names" in groups.get("", {}) or "layer_names" in groups.get("model_weights", {})


def keras3_variables(arrays: Sequence[Mapping[str, Any]], groups: GroupAttributes) -> dict[str, KerasVariable]:
    """Return the parameters of a Keras 3 file by their stored paths, those of one object in Keras' order.

    A class may save its variables under any names (save_own_variables), and then keeps these. An array that is in no
    object has its stored path. Leaves out optimizers, metrics and the seeds of Dropout.
    """
    objects: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    variables: dict[str, KerasVariable] = {}
    # HDF5 lists the layers dense, dense_1, dense_10, dense_2
    for array in sorted(arrays, key=lambda entry: [numeric_key(name) for name in entry["path"].split("/")]):
        match = VARIABLE.fullmatch(array["path"])
        path = (match[1] or "") if match else array["path"]
        if is_optimizer(path) or _SEED_GENERATOR.fullmatch(path.rpartition("/")[2]):
            continue
        if match:
            objects.setdefault(path, []).append((match[2], array))
        else:
            variables[array["path"]] = KerasVariable(array["path"], {})
    object_paths = _object_paths(objects, groups)
    for path, members in objects.items():
        numbered = [(int(key), array) for key, array in members if key.isdecimal()]
        saves_names = len(numbered) < len(members)
        class_name = None if saves_names else _class_of(path, groups)
        names = variable_names(class_name, numbered) if numbered else []
        quantized = is_quantized({name: array["dtype"] for name, (_, array) in zip(names, numbered, strict=True)})
        dense_axes = DENSE_AXES if class_name in ("dense", "lstm_cell", "gru_cell") and not quantized else {}
        axes = _ATTENTION_AXES.get(path.rpartition("/")[2].removeprefix("_"), dense_axes)
        for (number, array), name in zip(numbered, names, strict=True):
            implied = variable_attributes(name, array["dtype"], axes.get(name, ()), len(array["shape"]), quantized)
            variables[array["path"]] = KerasVariable(
                _below(object_paths[path], name), implied, object_paths[path], number
            )
        for name, array in members:
            if not name.isdecimal():
                variables[array["path"]] = KerasVariable(_below(object_paths[path], name), {})
    return variables


def copied_kernels(variables: Mapping[str, KerasVariable]) -> dict[str, str]:
    """Return the stored paths of the kernels in SpectralNormalization by those of the layers that they belong to.

    The file has such a kernel twice. Keras loads that of the layer last.
    """
    copies = {}
    for stored, variable in variables.items():
        owner = stored.removesuffix("vars/1")
        inner, outer = f"{owner}layer/vars/0", f"{owner}vars/0"
        if variable.path.endswith(f"/{SPECTRAL}") and outer in variables and inner in variables:
            copies[outer] = inner
    return copies


def _below(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def variable_group(stored: str) -> str:
    """Return the group of an object's variables from the stored path of one: ``layers/dense/vars``."""
    match = VARIABLE.fullmatch(stored)
    return _below(match[1] or "", "vars") if match else stored.rpartition("/")[0]


def is_optimizer(path: str) -> bool:
    """Return whether an object is an optimizer or a metric, or part of one.

    A child of a list of layers is never one: ``layers/optimizer`` is a custom layer of the class Optimizer.
    """
    segments = path.split("/")
    return any(
        _OPTIMIZER.fullmatch(segment) and (not place or segments[place - 1] not in LAYER_LISTS)
        for place, segment in enumerate(segments)
    )


def own_names(groups: GroupAttributes, optimizer: bool = False) -> dict[str, str]:
    """Return the own names of the objects in a Keras 3 file by their paths, "" for those without a name.

    optimizer: return those of optimizers and metrics instead.
    """
    return {
        path.removesuffix("vars").rstrip("/"): str(attributes.get("name") or "")
        for path, attributes in groups.items()
        if f"/{path}".endswith("/vars") and is_optimizer(path) == optimizer
    }


def prefixes(path: str) -> Iterator[str]:
    """Yield a path and the paths of all that contain it: ``a/b`` and ``a`` for ``a/b``."""
    while path:
        yield path
        path = path.rpartition("/")[0]


def _class_of(path: str, groups: GroupAttributes) -> str | None:
    """Return the class of the layer at a path, in snake case; None if the path does not determine it."""
    parent, _, segment = path.rpartition("/")
    if parent and f"{parent}/vars" not in groups:  # a container: it has no variables
        return _without_number(segment)
    # An attribute may hold a layer of any class. Only those of Keras' own layers are known.
    if segment in _ATTENTION_PARTS:
        return "dense"  # an EinsumDense, with the variables of a Dense
    if segment == "cell":
        outer = _class_of(parent, groups)
        return CELLS.get(outer or "") or _class_by_name(path, groups)
    if segment == "layer" and _class_of(parent, groups) in _WRAPPERS:
        return _class_by_name(path, groups)
    return None


def _class_by_name(path: str, groups: GroupAttributes) -> str | None:
    """Return the class in the own name of an object: ``dense`` for ``dense_3``.

    A name that Keras chose is the class in snake case and a number (keras/src/utils/naming.py, auto_name).
    """
    return _without_number(str(groups.get(f"{path}/vars", {}).get("name", "")))


def _without_number(name: str) -> str | None:
    match = _NUMBERED.fullmatch(name)
    return match[1] if match else None


def _object_paths(stored: Iterable[str], groups: GroupAttributes) -> dict[str, str]:
    """Return the path of each object in Keras by its path in the file: the names of its parents, and its own name.

    Objects that would get equal paths keep those that they have in the file.
    """
    children: dict[str, dict[str, list[str]]] = {}  # by the parent object: see _sibling_names
    for path in stored:
        parent, prefix, route = "", "", []
        for segment in path.split("/") if path else ():
            prefix = f"{prefix}/{segment}" if prefix else segment
            route.append(segment)
            if f"{prefix}/vars" in groups:  # an object; a container has no group vars
                children.setdefault(parent, {})[prefix] = route
                parent, route = prefix, []
    paths = {"": ""}
    for parent, routes in children.items():  # each parent before its children
        for path, name in _sibling_names(routes, groups).items():
            paths[path] = f"{paths[parent]}/{name}" if paths[parent] else name
    clashes = repeated(paths)
    return {path: path if name in clashes else name for path, name in paths.items()}


def _sibling_names(routes: Mapping[str, Sequence[str]], groups: GroupAttributes) -> Mapping[str, str]:
    """Return a name for each of the objects within one object, by their paths.

    routes: the segments from the parent to each object, by its path: ["layers", "dense_1"] for a child of a container,
    ["encoder"] for an attribute.

    An object is called by its own name, or by the last segment if it has none; its container is left out. Each of the
    three steps below applies to the names that clash after the step before it.
    """
    short = {path: _own_name(path, groups) or route[-1] for path, route in routes.items()}
    whole = {path: "/".join(route) for path, route in routes.items()}
    containers = {path: "/".join(route[:-1]) for path, route in routes.items()}

    # 1. All children of the containers that hold a clash get their container's name: heads/dense and tails/dense.
    clashes = repeated(short)
    shown = {containers[path] for path, name in short.items() if name in clashes} - {"", *LAYER_LISTS}
    names = {path: f"{containers[path]}/{name}" if containers[path] in shown else name for path, name in short.items()}

    # 2. Two in one container, or two attributes: attribute and class instead, heads/dense and heads/dense_1.
    clashes = repeated(names)
    names = {path: whole[path] if name in clashes else name for path, name in names.items()}

    # 3. The own name of a third is one of these: attribute and class for all.
    return whole if repeated(names) else names


def _own_name(path: str, groups: GroupAttributes) -> str | None:
    """Return the own name of an object; None if it cannot be one segment of a path."""
    name = groups[f"{path}/vars"].get("name")
    return name if isinstance(name, str) and name and "/" not in name else None


def repeated(names: Mapping[str, str]) -> set[str]:
    """Return the names that occur more than once."""
    return {name for name, count in Counter(names.values()).items() if count > 1}

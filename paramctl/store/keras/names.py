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
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from paramctl.errors import ParamctlError
from paramctl.model import Document, from_document
from paramctl.store.keras import from_config
from paramctl.store.keras.sketch import names

APART = ("optimizer/", "metrics/", "optimizer_weights/", "_loss_tracker/", "_optimizer/", "compile_metrics/")
_VARIABLE = re.compile(r"(?:(.*)/)?vars/(\d+)")
_NUMBERED = re.compile(r"(.+?)(?:_(\d+))?")

AFFINE = ("gamma", "beta")
MOVING = ("moving_mean", "moving_variance")
ADAPTED = ("mean", "variance", "count")
KERNEL = (("kernel",), ("kernel", "bias"))
CELL = (("kernel", "recurrent_kernel"), ("kernel", "recurrent_kernel", "bias"))
DENSE_AXES = {"kernel": ("in", "out"), "recurrent_kernel": ("in", "out"), "bias": ("out",)}
QUERY_AXES = {"kernel": ("in", "out", "out"), "bias": ("out", "out")}
OUTPUT_AXES = {"kernel": ("in", "in", "out"), "bias": ("out",)}

VARIABLES: dict[str, Sequence[tuple[str, ...]]] = {
    "dense": KERNEL,
    **{f"conv{rank}d{more}": KERNEL for rank in (1, 2, 3) for more in ("", "_transpose")},
    **{f"depthwise_conv{rank}d": KERNEL for rank in (1, 2)},
    **{
        f"separable_conv{rank}d": (
            ("depthwise_kernel", "pointwise_kernel"),
            ("depthwise_kernel", "pointwise_kernel", "bias"),
        )
        for rank in (1, 2)
    },
    "einsum_dense": KERNEL,
    "embedding": (("embeddings",),),
    "batch_normalization": ((*AFFINE, *MOVING), MOVING),
    "layer_normalization": (AFFINE,),
    "group_normalization": (AFFINE,),
    "rms_normalization": (("scale",),),
    "normalization": (ADAPTED,),
    "p_re_lu": (("alpha",),),
    "lstm_cell": CELL,
    "gru_cell": CELL,
    "simple_rnn_cell": CELL,
}
"""The variables of a layer by its class, trained ones first: each way in which there can be so many, if that tells."""

PARTS = {"query_dense": QUERY_AXES, "key_dense": QUERY_AXES, "value_dense": QUERY_AXES, "output_dense": OUTPUT_AXES}
RECURRENT = ("lstm", "gru", "simple_rnn")


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
    objects: dict[str, list[tuple[int, str, int]]] = {}
    for each in arrays:
        found = _VARIABLE.fullmatch(each["path"])
        if found and not f"{found[1] or ''}/".startswith(APART) and not (found[1] or "").endswith("seed_generator"):
            objects.setdefault(found[1] or "", []).append((int(found[2]), each["path"], len(each["shape"])))
    shown = _shown(objects, told)
    made: dict[str, Named] = {}
    for path, variables in objects.items():
        variables.sort()
        kind = _class_of(path, told)
        names = _variables(kind, len(variables))
        axes = PARTS.get(path.rpartition("/")[2], DENSE_AXES if kind in ("dense", "lstm_cell", "gru_cell") else {})
        for (_, stored, rank), name in zip(variables, names, strict=True):
            full = f"{shown[path]}/{name}" if shown[path] else name
            made[stored] = Named(full, says(name, axes.get(name, ()), rank))
    return made


def _variables(kind: str | None, count: int) -> Sequence[str]:
    """The names of so many variables of a layer of this class; their numbers where that does not tell."""
    fitting = [names for names in VARIABLES.get(kind or "", ()) if len(names) == count]
    return fitting[0] if len(fitting) == 1 else [str(number) for number in range(count)]


def says(name: str, axes: tuple[str, ...], rank: int) -> dict[str, Any]:
    kinds = {"bias": "bias", **dict.fromkeys((*AFFINE, "scale"), "norm"), **dict.fromkeys((*MOVING, *ADAPTED), "state")}
    says: dict[str, Any] = {} if name.isdecimal() else {"kind": kinds.get(name, "weight")}
    if name in (*MOVING, *ADAPTED):
        says["trainable"] = False
    if len(axes) == rank and axes:
        says["axes"] = ", ".join(axes)
    return says


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
        named = _NUMBERED.fullmatch(str(told.get(f"{path}/vars", {}).get("name", "")))
        return f"{parent}_cell" if parent in RECURRENT else named[1] if named else None
    return None


def _shown(paths: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, str]:
    """What each object is called: the names of the layers on the way to it, lists called layers left out."""
    made = {path: _names_to(path, told) for path in paths}
    taken = list(made.values())
    return {path: name if taken.count(name) == 1 else path for path, name in made.items()}


def _names_to(path: str, told: Mapping[str, Any]) -> str:
    names, here = [], ""
    for segment in path.split("/") if path else ():
        here = f"{here}/{segment}" if here else segment
        is_list = f"{here}/vars" not in told
        if is_list and segment == "layers":
            continue
        own = told.get(f"{here}/vars", {}).get("name")
        names.append(own if isinstance(own, str) and own and "/" not in own else segment)
    return "/".join(names)


def told_names(told: Mapping[str, Any], apart: bool = False) -> dict[str, str]:
    """What the objects of a Keras 3 file call themselves, by their paths; "" where they do not tell.

    apart: an optimizer's and metrics' instead.
    """
    return {
        path.removesuffix("vars").rstrip("/"): str(said.get("name") or "")
        for path, said in told.items()
        if f"/{path}".endswith("/vars") and f"{path}/".startswith(APART) == apart
    }


def names2(arrays: Sequence[Mapping[str, Any]], told: Mapping[str, Any]) -> dict[str, Named]:
    """What each array of a Keras 2 file is called, by its stored path, in Keras' order."""
    root = "" if "layer_names" in told.get("", {}) else "model_weights/"
    there = {each["path"]: each for each in arrays}
    made: dict[str, Named] = {}
    for layer in [*told[root.rstrip("/")]["layer_names"], "top_level_model_weights"]:
        for weight in told.get(f"{root}{layer}", {}).get("weight_names", ()):
            stored = f"{root}{layer}/{weight}"
            if stored not in there:
                continue
            *folders, name = re.sub(r":\d+$", "", weight).split("/")
            inside = folders[1:] if folders[:1] == [layer] else folders
            full = "/".join(([layer] if layer != "top_level_model_weights" else []) + inside + [name])
            made[stored] = Named(full, says(name, DENSE_AXES.get(name, ()) if name == "bias" else (), -1))
    return made


def document_of(config: Any) -> Document | None:
    """The document of a Keras configuration; None if it cannot be said in one."""
    try:
        made = from_config.document(config)
        text = json.dumps(made, indent=1)
    except (from_config.Unsaid, ValueError):
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
    return made if same else {}


def by_class(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """For each array whose name is only a number, what its layer's class and options in a configuration say."""
    numbers = [path for path in shapes if path.rpartition("/")[2].isdecimal()]
    found = names(config, Counter(path.rpartition("/")[0] for path in numbers))
    folders = {path: path.rpartition("/") for path in numbers}
    return {path: f"{folder}/{found[folder][int(n)]}" for path, (folder, _, n) in folders.items() if folder in found}

"""The names of a checkpoint's tensors, and which of them are parameters, by its graph of objects or by their names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from paramctl.store.tensorflow.bundle import DTYPES, Bundle, Entry
from paramctl.store.tensorflow.graph import (
    Graph,
    Variable,
    export_copies,
    is_sequential,
    object_path,
    parameter_keys,
    second_names,
    trainable_keys,
)

COUNTER = "save_counter"
"""The variable with which tf.train.Checkpoint numbers its files."""
COUNTER_KEY = f"{COUNTER}/.ATTRIBUTES/VARIABLE_VALUE"
SLOTS = frozenset(
    "Adam Adam_1 Momentum Adagrad Adadelta Adadelta_1 RMSProp RMSProp_1 RMSProp_2 Ftrl Ftrl_1 adam_m adam_v".split()
)
"""The last parts of names that optimizers of TensorFlow 1 give to the state of a variable."""
POWERS = frozenset({"beta1_power", "beta2_power"})
"""Adam's scalars, under any scope."""
SEQUENTIAL = re.compile(r"sequential(_[0-9]+)?")
"""The name that Keras gives a Sequential model."""
GLOBAL_STEP = "global_step"


@dataclass(frozen=True)
class Names:
    """The names of tensors, by their keys.

    parameters: of the model. state: of optimizers and metrics. counter: the key of the number of saves.
    ties: second names of parameters, with their first. trainable: whether a parameter is, by its key, where known.
    """

    parameters: Mapping[str, str]
    state: Mapping[str, str] = field(default_factory=dict)
    counter: str | None = None
    ties: Mapping[str, str] = field(default_factory=dict)
    trainable: Mapping[str, bool] = field(default_factory=dict)


def names_in(bundle: Bundle, graph: Graph | None) -> Names:
    """Return the names and roles of the tensors that are arrays of numbers."""
    keys = [key for key, entry in bundle.entries.items() if entry.dtype in DTYPES]
    if graph is None:
        slots = set(_slots(bundle.entries, keys))
        return Names({key: key for key in keys if key not in slots}, {key: key for key in keys if key in slots})
    counter = COUNTER_KEY if COUNTER_KEY in keys and not bundle.entries[COUNTER_KEY].shape else None
    copied = _copies(bundle.entries, graph)
    wanted = parameter_keys(graph)
    # the graph has variables in the order of their layers; without it, keys are sorted
    places = {variable.key: place for place, node in enumerate(graph) for variable in node.variables}
    keys = [key for key in keys if key != counter and key not in copied]
    keys.sort(key=lambda key: places.get(key, len(places)))
    model_keys = [key for key in keys if key in wanted or key not in places]
    parameters = _without_model(graph, _full_names(graph, model_keys)) or {key: object_path(key) for key in model_keys}
    state_keys = [key for key in keys if key not in parameters]
    state = _full_names(graph, state_keys) or {key: object_path(key) for key in state_keys}
    ties = {}
    # with names of Keras, the many lists and attributes that hold a variable have no names of that kind
    if all(parameters[key] == object_path(key) for key in model_keys):
        taken = {*parameters.values(), *state.values()}
        seconds = {name: key for name, key in second_names(graph).items() if name not in taken}
        ties = {name: parameters[key] for name, key in seconds.items() if key in parameters}
    return Names(parameters, state, counter, ties, trainable_keys(graph))


def _full_names(graph: Graph, keys: Collection[str]) -> dict[str, str]:
    """Return the full names of variables, by their keys; empty unless each has one that no other has."""
    full = {variable.key: variable.full_name for node in graph for variable in node.variables}
    names = {key: full.get(key, "") for key in keys}
    if "" in names.values() or len(set(names.values())) < len(names):
        return {}
    return names


def _without_model(graph: Graph, names: dict[str, str]) -> dict[str, str]:
    """Return names without that of a Sequential model of Keras 3, with which those of all its variables begin.

    Neither a document nor a file of Keras has it. The names of other models do not begin with the model's.
    """
    firsts = {name.partition("/")[0] for name in names.values()}
    if len(firsts) != 1 or not all(name.count("/") > 1 for name in names.values()):
        return names
    # the graph of an exported model has the variables alone, but Keras' own name for such a model
    if not (is_sequential(graph) or SEQUENTIAL.fullmatch(min(firsts))):
        return names
    return {key: name.partition("/")[2] for key, name in names.items()}


def _copies(entries: Mapping[str, Entry], graph: Graph) -> set[str]:
    """Return the keys of copies that Keras 3's export writes, each equal in name, shape, and values to another."""

    def identity(variable: Variable) -> tuple[str, object]:
        entry = entries.get(variable.key)
        return variable.full_name, entry and (entry.dtype, entry.shape, entry.checksum)

    copied = export_copies(graph)
    keys = {variable.key for variable in copied}
    others = Counter(identity(variable) for node in graph for variable in node.variables if variable.key not in keys)
    result = set()
    # two variables may have one name and equal values, so each copy uses up one other
    for variable in copied:
        if others[identity(variable)] > 0:
            others[identity(variable)] -= 1
            result.add(variable.key)
    return result


def _slots(entries: Mapping[str, Entry], keys: Sequence[str]) -> list[str]:
    """Return the names that optimizers of TensorFlow 1 give: a variable's of the same shape, and a known last part."""
    slots = []
    for key in keys:
        variable, _, last = key.rpartition("/")
        if last in SLOTS and variable in entries and entries[variable].shape == entries[key].shape:
            slots.append(key)
    # a scalar of this name alone could be a parameter
    has_adam = any(key.endswith("/Adam_1") for key in slots)
    scalars = {key for key in keys if not entries[key].shape}
    powers = [key for key in scalars if has_adam and key.rpartition("/")[2] in POWERS]
    return [*slots, *powers, *({GLOBAL_STEP} & scalars if slots else ())]

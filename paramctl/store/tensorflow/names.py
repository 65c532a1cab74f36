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
VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
COUNTER_KEY = f"{COUNTER}{VALUE}"
SLOTS = frozenset(
    "Adam Adam_1 Momentum Adagrad Adadelta Adadelta_1 RMSProp RMSProp_1 RMSProp_2 Ftrl Ftrl_1 adam_m adam_v".split()
)
"""The last parts of names that optimizers of TensorFlow 1 give to the state of a variable, unless they are renamed."""
FACTORED = re.compile(r"(.+)_slot_(m|v|vr|vc)")
"""The names that Adafactor of Mesh TensorFlow gives: of the sums of a variable's rows and columns too."""
POWERS = re.compile(r"(.*/)?beta[12]_power(_[0-9]+)?")
"""Adam's scalars, under any scope."""
DEFAULT_NAME = re.compile(r"(.*/)?Variable(_[0-9]+)?")
"""The name that TensorFlow gives a variable without one."""
GENERATORS = frozenset({"seed_generator_state", "StateVar"})
"""The last parts of the names of the states of Keras' and TensorFlow's random generators."""
SEQUENTIAL = re.compile(r"sequential(_[0-9]+)?")
"""The name that Keras gives a Sequential model."""
GLOBAL_STEP = "global_step"


@dataclass(frozen=True)
class Names:
    """The names of tensors, by their keys.

    parameters: of the model. state: of optimizers, metrics and random generators. numbers: of the number of saves, and
    of further integers beside the objects of a numbered checkpoint, such as a step.
    ties: second names of parameters, with their first. trainable: whether a parameter is, by its key, where known.
    """

    parameters: Mapping[str, str]
    state: Mapping[str, str] = field(default_factory=dict)
    numbers: Mapping[str, str] = field(default_factory=dict)
    ties: Mapping[str, str] = field(default_factory=dict)
    trainable: Mapping[str, bool] = field(default_factory=dict)


def names_in(bundle: Bundle, graph: Graph | None) -> Names:
    """Return the names and roles of the tensors that are arrays of numbers."""
    keys = [key for key, entry in bundle.entries.items() if entry.dtype in DTYPES]
    if graph is None:
        slots = set(_slots(bundle.entries, keys))
        return Names({key: key for key in keys if key not in slots}, {key: key for key in keys if key in slots})
    copied = _copies(bundle.entries, graph)
    wanted = parameter_keys(graph)
    full = {variable.key: variable.full_name for node in graph for variable in node.variables}
    generators = {key for key, name in full.items() if name.rpartition("/")[2] in GENERATORS}
    # the graph has variables in the order of their layers; without it, keys are sorted
    places = {variable.key: place for place, node in enumerate(graph) for variable in node.variables}
    numbers = _numbers(bundle.entries, graph, wanted)
    keys = [key for key in keys if key not in numbers and key not in copied]
    keys.sort(key=lambda key: places.get(key, len(places)))
    model_keys = [key for key in keys if (key in wanted or key not in places) and key not in generators]
    parameters = _model_names(graph, {key: full.get(key, "") for key in model_keys})
    state_keys = [key for key in keys if key not in parameters]
    state = _unique({key: full.get(key, "") for key in state_keys}) or {key: object_path(key) for key in state_keys}
    ties = {}
    # with names of Keras, the many lists and attributes that hold a variable have no names of that kind
    if all(parameters[key] == object_path(key) for key in model_keys):
        taken = {*parameters.values(), *state.values()}
        seconds = {name: key for name, key in second_names(graph).items() if name not in taken}
        ties = {name: parameters[key] for name, key in seconds.items() if key in parameters}
    return Names(parameters, state, numbers, ties, trainable_keys(graph))


def _numbers(entries: Mapping[str, Entry], graph: Graph, wanted: Collection[str]) -> dict[str, str]:
    """Return the names of the integers beside the objects of a numbered checkpoint, by their keys.

    Only ``save`` and the manager of checkpoints number them: the root of others can be a module with such a variable.
    """
    if COUNTER_KEY not in entries:
        return {}
    variables = [(name, variable.key) for name, number in graph[0].children for variable in graph[number].variables]
    return {
        key: name
        for name, key in variables
        if (key in wanted and key == f"{name}{VALUE}")
        and (entry := entries.get(key))
        and not entry.shape
        and DTYPES.get(entry.dtype) in ("int32", "int64")
    }


def _unique(names: dict[str, str]) -> dict[str, str]:
    """Return names by keys; empty unless each key has one that no other has."""
    return {} if "" in names.values() or len(set(names.values())) < len(names) else names


def _model_names(graph: Graph, full: Mapping[str, str]) -> dict[str, str]:
    """Return the names of parameters by their keys: the full names, or all paths of objects if these are not unique."""
    paths = {key: object_path(key) for key in full}
    if "" in full.values():
        return paths
    # "Variable" is no name: such a variable can be beside those of a Keras model
    named = {key: name for key, name in full.items() if not DEFAULT_NAME.fullmatch(name)}
    return _unique(paths | _without_model(graph, named)) or paths


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
    """Return the names that optimizers and moving averages of TensorFlow 1 give beside those of variables."""
    owners = {key: key.rpartition("/")[0] for key in keys}
    owned = {key for key in keys if (owner := entries.get(owners[key])) and owner.shape == entries[key].shape}
    # an optimizer can have any name, which all variables' slots have: w/MyAdam, w/MyAdam_1
    strangers = {key.rpartition("/")[2] for key in keys if key not in owned}
    factored = {key for key in keys if (match := FACTORED.fullmatch(key)) and match[1] in entries}
    slots = [
        key
        for key in keys
        if key in factored or (key in owned and ((last := key.rpartition("/")[2]) in SLOTS or last not in strangers))
    ]
    # a scalar of this name alone could be a parameter
    has_second = any(key.endswith("_1") for key in slots)
    scalars = {key for key in keys if not entries[key].shape} - {*slots}
    powers = [key for key in scalars if has_second and POWERS.fullmatch(key)]
    return [*slots, *powers, *({GLOBAL_STEP} & scalars if slots else ())]

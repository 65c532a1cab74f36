"""Pickled modules: their parameters and buffers under the names that their state_dict has."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import islice
from typing import Any

from paramctl.store.pickles.objects import Record
from paramctl.store.pickles.state import BadPickle
from paramctl.store.torch.tensors import REBUILD

SCRIPT = "__torch__."
"""The beginning of the name of a class in TorchScript."""
MAX_MODULES = 100_000
MAX_DEPTH = 200
MAX_MEMBERS = 500_000
OWN = ("_parameters", "_buffers", "_modules")
"""The attributes of a module that name its parameters, its buffers, and its inner modules."""
OTHER_TENSORS = "tensors that are neither parameters nor buffers of a module"
"""The kind of an attribute, such as the packed weights of a quantized layer."""
MAX_SEARCHED = 1_000
"""Values of an attribute in which to look for tensors."""
MAX_ATTRIBUTES = 2_000_000
"""The same, of all attributes of all modules, which may have the same attributes many times."""

Sources = Callable[[str], str]
"""Returns the code of a class of TorchScript, by the full name of the class."""
Member = tuple[str, Any, bool]
"""The name of an array, its record, and whether it is a buffer."""


def mapping_of(value: Any) -> Mapping[Any, Any] | None:
    """Return the entries of a dict, or of an object that is built like one; None for anything else."""
    if isinstance(value, dict):
        return value
    if not isinstance(value, Record):
        return None
    if value.entries is not None:
        return value.entries
    if value.name == "collections.OrderedDict":
        pairs = value.args[0] if value.args else []
        items = pairs if isinstance(pairs, list) else []
        return {
            pair[0]: pair[1]
            for pair in items
            if isinstance(pair, (list, tuple)) and len(pair) == 2 and isinstance(pair[0], str)
        }
    if value.name in ("argparse.Namespace", "types.SimpleNamespace") and isinstance(value.state, dict):
        return value.state
    if value.name == "collections.Counter" and value.args and isinstance(value.args[0], dict):
        return value.args[0]
    return {} if value.name in ("collections.defaultdict", "builtins.dict") else None


def module_state(value: Any) -> Mapping[Any, Any] | None:
    """Return the attributes of a pickled module; None for anything else."""
    if not isinstance(value, Record):
        return None
    state = value.state
    if value.name.startswith("torch.fx.graph_module.reduce_") and value.args:  # a traced module
        state = value.args[0]
    if not isinstance(state, dict):
        return None
    is_module = value.name.startswith(SCRIPT) or ("_parameters" in state and "_modules" in state)
    return state if is_module else None


def members_of(module: Record, code_of: Sources) -> tuple[list[Member], dict[str, str]]:
    """Return the parameters and buffers of a module in the order of its state_dict.

    Returns also the kind of each buffer that it leaves out, and of each attribute that has tensors, by name.

    code_of: for a module of TorchScript, whose code names its parameters and buffers.
    """
    members: list[Member] = []
    left_out: dict[str, str] = {}
    search = _Search()
    waiting: list[tuple[str, Any, int]] = [("", module, 0)]
    count = 0
    while waiting:
        prefix, value, depth = waiting.pop()
        state = module_state(value)
        if state is None:
            continue
        count += 1
        if count > MAX_MODULES or depth > MAX_DEPTH or len(members) > MAX_MEMBERS:
            raise BadPickle(
                f"more than {MAX_MODULES:,} modules or {MAX_MEMBERS:,} arrays, or {MAX_DEPTH} modules in each other"
            )
        is_script = value.name.startswith(SCRIPT)
        direct, inner = _script(value, state, code_of) if is_script else _eager(state)
        # torch's state_dict leaves these buffers out, and load_state_dict refuses them
        transient = state.get("_non_persistent_buffers_set")
        names = set(_elements(transient)) if transient is not None else set()
        for name, array, is_buffer in direct:
            if is_buffer and name in names:
                left_out[f"{prefix}{name}"] = "a buffer that state_dict leaves out"
            else:
                members.append((f"{prefix}{name}", array, is_buffer))
        others = search.attributes(state, {name for name, _, _ in direct})
        left_out |= {f"{prefix}{name}": OTHER_TENSORS for name in others}
        # the last one pushed is visited first
        waiting += [(f"{prefix}{name}.", child, depth + 1) for name, child in reversed(inner)]
    return members, left_out


def _eager(state: Mapping[Any, Any]) -> tuple[list[Member], list[tuple[str, Any]]]:
    """Return a module's own parameters and buffers, and its inner modules."""
    parameters, buffers, modules = (mapping_of(state.get(key)) or {} for key in ("_parameters", "_buffers", "_modules"))
    members = [(str(name), value, False) for name, value in parameters.items() if value is not None]
    members += [(str(name), value, True) for name, value in buffers.items() if value is not None]
    return members, [(str(name), value) for name, value in modules.items()]


def _script(value: Record, state: Mapping[Any, Any], code_of: Sources) -> tuple[list[Member], list[tuple[str, Any]]]:
    """Return the same of a module of TorchScript, whose code has ``__parameters__ = ["weight", "bias", ]``."""
    code = code_of(value.name)
    members: list[Member] = []
    for kind, is_buffer in (("parameters", False), ("buffers", True)):
        listed = re.search(rf"__{kind}__ = \[(.*?)\]", code)
        names = re.findall(r'"((?:[^"\\]|\\.)*)"', listed[1]) if listed else []
        members += [(name, state[name], is_buffer) for name in names if state.get(name) is not None]
    return members, [(str(name), child) for name, child in state.items() if module_state(child) is not None]


class _Search:
    """A search for tensors in the attributes of modules, within a budget for all of them. left: of the budget."""

    def __init__(self) -> None:
        self.left = MAX_ATTRIBUTES

    def attributes(self, state: Mapping[Any, Any], listed: Collection[str]) -> list[str]:
        """Return the attributes of a module that have tensors, without those listed. Raises BadPickle."""
        names: list[str] = []
        for attributes in (state, mapping_of(state.get("_modules")) or {}):
            self._spend(len(attributes))
            for name, value in attributes.items():
                if name not in listed and name not in OWN and self._has_tensors(value):
                    names.append(str(name))
        return names

    def _has_tensors(self, value: Any) -> bool:
        """Return whether an attribute has tensors, in containers and in objects other than modules."""
        waiting, count = [value], 0
        while waiting and count < MAX_SEARCHED:
            part = waiting.pop()
            count += 1
            if isinstance(part, Record) and part.name in REBUILD:
                return True
            if isinstance(part, Record) and module_state(part) is None:
                waiting += [part.args, part.state, part.entries, part.elements]
            elif isinstance(part, dict):
                waiting += islice(part.values(), MAX_SEARCHED)
            elif isinstance(part, (list, tuple)):
                waiting += part[:MAX_SEARCHED]
        self._spend(count - 1)
        return False

    def _spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise BadPickle(f"the modules have more than {MAX_ATTRIBUTES:,} attributes")


def _elements(value: Any) -> Iterator[str]:
    """Yield the texts of a pickled set."""
    if isinstance(value, Record):
        values = value.elements or (value.args[0] if value.args and isinstance(value.args[0], list) else [])
        yield from (element for element in values if isinstance(element, str))

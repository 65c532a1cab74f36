"""The names of entries.

An entry has the name it declares, or an automatic one from its type: ``dense``, ``dense_1``, ``dense_2``. A name is
unique within its list. A repeated entry requires an automatic name or one with a variable, such as ``block-${i}``.
"""

from __future__ import annotations

from paramctl.model.budget import MAX_PATH
from paramctl.model.context import Context
from paramctl.model.entry import Entry
from paramctl.model.expand.state import State
from paramctl.model.layers import FUNCTIONS, LAYERS
from paramctl.model.layers.branching import Reuse
from paramctl.model.layers.core import Activation
from paramctl.model.names import check_name


def is_reuse(entry: Entry) -> bool:
    return entry.type.value == Reuse.type


def claim_name(state: State, entry: Entry, context: Context, times: int) -> str | None:
    """Return the name of an entry and reserve it in its scope.

    times: how often the entry repeats.
    Returns None for a reuse without a name, which keeps the path of its first use.
    Raises DocumentError for an invalid or duplicate name.
    """
    node = entry.common.get("name")
    if node is None:
        if is_reuse(entry):
            return None
        name = context.scope.automatic(_automatic_base(state, entry))
        context.scope.claim(name, entry.type)
        return name
    if times > 1 and not node.dynamic:
        check_name(node)
        hint = f"Write '{node.value}-${{i}}', or omit the name to number the layers."
        raise node.error("a repeated entry may not have a fixed name", hint=hint)
    name = check_name(state.resolve(context, node))
    context.scope.claim(name, node)
    return name


def _automatic_base(state: State, entry: Entry) -> str:
    """Return the type name that numbers are added to. An activation function is named as in Keras: activation_1."""
    type_name = str(entry.type.value)
    is_function = type_name in FUNCTIONS and type_name not in LAYERS and type_name not in state.templates
    return Activation.type if is_function else type_name


def join_path(state: State, entry: Entry, context: Context, name: str) -> str:
    """Return the path of an entry. Raises DocumentError if it is too long."""
    path = f"{context.path}/{name}" if context.path else name
    state.budget.charge(entry.node, len(path) // 32)
    if len(path) > MAX_PATH:
        raise entry.node.error(f"a path may have at most {MAX_PATH:,} characters", f"{len(path):,}")
    return path

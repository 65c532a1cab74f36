"""Select the arrays to freeze, or to make trainable again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from paramctl.address.resolve import resolve_whole
from paramctl.core.parameter import FLOAT_DTYPES, Parameter
from paramctl.edit.combine import STATISTICS
from paramctl.errors import AddressError
from paramctl.model import Model


class Marks(NamedTuple):
    """The arrays to mark, by the paths of their owners.

    paths: every selected array.
    changed: those of them whose mark changes.
    state: selected arrays that training never changes, which stay as they are.
    """

    paths: list[str]
    changed: list[str]
    state: list[str]


def select_marks(model: Model, patterns: Sequence[str], trainable: bool) -> Marks:
    """Return the arrays that patterns match, under any of their names.

    trainable: False to freeze them.
    Raises AddressError for a pattern that matches nothing and, to make them trainable, for one that matches only state.
    """
    selected: dict[str, None] = {}
    state: dict[str, None] = {}
    for pattern in patterns:
        owners = [model.owner(path) for path in resolve_whole(model, pattern, "trainable" if trainable else "frozen")]
        fixed = [owner.path for owner in owners if trainable and _is_state(owner)]
        if len(fixed) == len(owners):
            rule = "state, such as a moving mean or a count, is never trainable"
            raise AddressError(rule, f"{fixed[0]}" + (f" and {len(fixed) - 1:,} more" if len(fixed) > 1 else ""))
        state |= dict.fromkeys(fixed)
        selected |= dict.fromkeys(owner.path for owner in owners)
    paths = [path for path in selected if path not in state]
    changed = [path for path in paths if model.parameters[path].trainable is not trainable]
    return Marks(paths, changed, list(state))


def _is_state(parameter: Parameter) -> bool:
    """Return whether training never changes an array: by its kind, by its dtype, or by its name in another's file."""
    name = parameter.path.replace(".", "/").rpartition("/")[2]
    is_statistic = parameter.kind == "unknown" and name in STATISTICS
    is_number = parameter.dtype in FLOAT_DTYPES or parameter.dtype.startswith(("complex", "float"))
    return parameter.kind == "state" or is_statistic or not is_number

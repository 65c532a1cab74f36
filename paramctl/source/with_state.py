"""A source with the arrays of its optimizer's state, which follow the parameters and are never counted as such."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from paramctl.address.resolve import resolve_whole
from paramctl.core.parameter import Parameter
from paramctl.core.text import abbreviate
from paramctl.errors import AddressError, InputError
from paramctl.model import Model
from paramctl.source.base import Derived, Description, Source
from paramctl.store.checkpoint import TooManyParts, name_tree
from paramctl.store.contents import OptimizerState, Piece, blocks

if TYPE_CHECKING:
    from paramctl.core.dtypes import Array


class WithState(Derived):
    """A source whose model has the arrays of an optimizer too, under their own paths. Their kind is "optimizer".

    other: the source that has these arrays, if they are not those of the base's file.
    """

    keeps_values = True

    def __init__(self, base: Source, state: OptimizerState, other: Source | None = None) -> None:
        options = {} if other is None else {"other": other}
        super().__init__(base, _with_arrays(base.model, state), base.origin, "with_state", **options)
        self.state = state

    def pieces(self, parameter: Parameter) -> Iterator[Piece]:
        return blocks(parameter) if parameter.path in self.state.arrays else self.base.pieces(parameter)

    def read(self, path: str, start: int, stop: int) -> Array:
        if path not in self.state.arrays:
            return self.base.read(path, start, stop)
        from paramctl.core.dtypes import cast  # NumPy, which a summary needs not

        return cast(self.state.reader.read(path, start, stop), self.state.arrays[path].dtype)


def with_state(source: Source, other: Source | None = None) -> Source:
    """Return a source with the arrays of its file's optimizer; the source itself without any, or if it has them.

    other: the source whose arrays of an optimizer to take instead.
    Raises AddressError for an array that has the name of a parameter.
    """
    # a conversion of the parameters begins with other arrays than those that --drop and --dtype leave
    if other is not None:
        arrays = {path: each for path, each in other.model.parameters.items() if not each.is_parameter}
        return WithState(source, OptimizerState(arrays, other), other) if arrays else source
    state = source.origin.optimizer
    if state is None or not all(parameter.is_parameter for parameter in source.model.parameters.values()):
        return source
    return WithState(source, state)


class _WithoutNamed(Derived):
    """A source whose file's optimizer has fewer arrays. Its values are the same."""

    keeps_values = True

    def __init__(self, base: Source, state: OptimizerState | None) -> None:
        model = replace(base.model, optimizer=() if state is None else state.arrays.keys())
        super().__init__(base, model, replace(base.origin, optimizer=state), "")

    def read(self, path: str, start: int, stop: int) -> Array:
        return self.base.read(path, start, stop)

    def describe(self) -> Description:
        return self.base.describe()


class DroppedState(NamedTuple):
    """A source without some arrays of its optimizer, the patterns for its parameters, and a line about the arrays."""

    source: Source
    patterns: list[str]
    notes: list[str]


def drop_state(source: Source, patterns: Sequence[str]) -> DroppedState:
    """Return a source without the arrays of its optimizer that patterns match."""
    state = source.origin.optimizer
    if state is None or not patterns:
        return DroppedState(source, [*patterns], [])
    tree = Model(source.model.name, (), (), name_tree(state.arrays, source.model.separator))
    dropped, others = set(), []
    for pattern in patterns:
        matched = _matched(tree, pattern)
        dropped |= matched
        # a pattern such as **/3 may match parameters too, and one that matches nothing is an error there
        if not matched or _matched(source.model, pattern):
            others.append(pattern)
    if not dropped:
        return DroppedState(source, others, [])
    names = [path for path in state.arrays if path in dropped]
    note = f"dropped {len(names):,} of {len(state.arrays):,} arrays of the optimizer: {abbreviate(names)}"
    arrays = {path: array for path, array in state.arrays.items() if path not in dropped}
    # Keras reads all variables of an optimizer or none, so the others are not carried over
    without = _WithoutNamed(source, replace(state, arrays=arrays, layout=None) if arrays else None)
    return DroppedState(without, others, [note])


def _matched(model: Model, pattern: str) -> set[str]:
    try:
        return set(resolve_whole(model, pattern, "dropped"))
    except AddressError:
        return set()


def _with_arrays(model: Model, state: OptimizerState) -> Model:
    """Return a model with the arrays of an optimizer as blocks after its own."""
    if clash := next((path for path in state.arrays if path in model.parameters), None):
        raise AddressError(f"{model.name}: an array of the optimizer must not have the name of a parameter", clash)
    # no training changes them as it does a parameter, so a filter by trainable leaves them out
    arrays = {path: replace(array, kind="optimizer", trainable=False) for path, array in state.arrays.items()}
    try:
        added = name_tree(arrays, model.separator)
    except TooManyParts as error:
        raise InputError(f"{model.name}: {error}") from error
    return replace(model, blocks=(*model.blocks, *added))


class WithoutState(Derived):
    """The parameters of a source, without the arrays of an optimizer."""

    keeps_values = True

    def __init__(self, base: Source) -> None:
        super().__init__(base, base.model.without_optimizer(), base.origin, "without_state")

    def read(self, path: str, start: int, stop: int) -> Array:
        return self.base.read(path, start, stop)


def split_state(source: Source) -> tuple[Source, OptimizerState | None]:
    """Return the parameters of a source, and the arrays of an optimizer that it has among them; None without any."""
    arrays = {path: each for path, each in source.model.parameters.items() if not each.is_parameter}
    if not arrays:
        return source, None
    return WithoutState(source), OptimizerState(arrays, source)

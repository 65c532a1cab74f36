"""Weights: a source as a mapping from paths to arrays, read on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from paramctl.address.patterns import nearest_hint
from paramctl.errors import AddressError
from paramctl.library.arrays import LazyArray

if TYPE_CHECKING:
    from paramctl.core.dtypes import Array
    from paramctl.core.parameter import Parameter
    from paramctl.model import Model
    from paramctl.source.base import Source

Report = Callable[[Mapping[str, Any]], Sequence[Any]]
"""Returns the rows of a report. The argument: what was measured of the values of each array, by path."""


def no_report(measured: Mapping[str, Any]) -> Sequence[Any]:
    """Return no rows: nothing was done to these weights."""
    return ()


class MissingParameter(AddressError, KeyError):
    """A path that is no parameter's. A KeyError too, as ``dict.get`` and others expect of a mapping."""

    __str__ = Exception.__str__  # KeyError's quotes the message


class Weights(Mapping[str, LazyArray]):
    """Named arrays with values: a checkpoint, a model with values from its schemes, or one of these edited.

    It is a mapping from the paths of parameters, tied ones included, to arrays, and a context manager that closes the
    file. Functions of this library that change values return other Weights and leave this one unchanged.
    """

    def __init__(
        self,
        source: Source,
        make_report: Report = no_report,
        skipped: Sequence[str] = (),
        seed: int | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        if not hasattr(source, "origin"):
            raise TypeError(f"source must be a source, as of other weights (got {type(source).__name__})")
        self.source, self.make_report = source, make_report
        self.skipped = skipped
        """The non-numeric items of the file, in words."""
        self.seed = seed
        """The seed of the values that ``initialize`` generated."""
        self.notes = notes
        """Settings that torch code needs to compute the same; empty unless converted to torch's layout."""

    @property
    def model(self) -> Model:
        """The structure: blocks, parameters, ties."""
        return self.source.model

    @property
    def report(self) -> list[Any]:
        """The work of the function that returned these weights: a row for each array or assignment.

        initialize: PlanRow; assign: EditRow, which reads the values; convert: TensorRow; otherwise empty.
        """
        return list(self.make_report({}))

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """The parameters by path: shape, dtype, axes, kind, and whether they are trainable."""
        return self.source.model.parameters

    def with_state(self) -> Weights:
        """Return weights that have the arrays of the file's optimizer too, of the kind "optimizer".

        These weights again if the file has none.
        """
        from paramctl.source.with_state import with_state

        return Weights(with_state(self.source), self.make_report, self.skipped, self.seed, self.notes)

    def __getitem__(self, path: str) -> LazyArray:
        if path not in self.parameters:
            hint = nearest_hint(path, self)
            raise MissingParameter(f"{self.model.name} has no parameter with this name", repr(path), hint)
        return LazyArray(self.source, path)

    def __contains__(self, path: object) -> bool:
        return path in self.parameters

    def __iter__(self) -> Iterator[str]:
        return iter(self.parameters)

    def __len__(self) -> int:
        return len(self.parameters)

    def blocks(self, path: str) -> Iterator[Array]:
        """Yield the values of one array in C order, in flat pieces of bounded size."""
        return self[path].blocks()

    def describe(self) -> Mapping[str, Any]:
        """Return a description in the types of JSON, from which ``reopen`` makes the same weights elsewhere.

        Raises InputError if that is not possible, as for standard input.
        """
        return self.source.describe()

    def close(self) -> None:
        """Close the file that the values come from, if any. Values can then no longer be read."""
        location = self.source.origin.location
        if location is not None:
            location.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return repr(self.model)

    def _repr_html_(self) -> str:
        return self.model._repr_html_()

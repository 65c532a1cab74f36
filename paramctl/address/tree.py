"""The tree in which addresses are resolved: protocols that a model satisfies."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from paramctl.core.parameter import Parameter

if TYPE_CHECKING:
    from paramctl.address.places import Places


class NamedBlock(Protocol):
    """A layer or a block of layers, with its path, inner blocks, and parameters."""

    @property
    def path(self) -> str: ...

    @property
    def blocks(self) -> Sequence[NamedBlock]: ...

    @property
    def parameters(self) -> Sequence[Parameter]: ...

    @property
    def reuse_of(self) -> str | None:
        """The path of the first use, if this block applies an earlier one again."""


class NamedTree(Protocol):
    """The part of a model that addresses need.

    aliases: the name in the file of each path, if it differs.
    skipped: the kind of everything in the file that is not an array of numbers, by name.
    optimizer: the names of the arrays of an optimizer in the file, which are not in the tree.
    places: made once for each model, because every address looks its names up there.
    """

    @property
    def name(self) -> str: ...

    @property
    def separator(self) -> str: ...

    @property
    def blocks(self) -> Sequence[NamedBlock]: ...

    @property
    def parameters(self) -> Mapping[str, Parameter]: ...

    @property
    def aliases(self) -> Mapping[str, str]: ...

    @property
    def skipped(self) -> Mapping[str, str]: ...

    @property
    def optimizer(self) -> Collection[str]: ...

    @property
    def places(self) -> Places: ...

    def walk(self) -> Iterator[NamedBlock]: ...

    def owners(self) -> Iterator[Parameter]: ...

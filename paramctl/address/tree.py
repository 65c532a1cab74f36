"""The tree that addresses are resolved in: the protocol that a model satisfies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from paramctl.core.parameter import Parameter


class NamedBlock(Protocol):
    """A layer, or a block of layers, with its path and the parameters it holds itself."""

    @property
    def path(self) -> str: ...

    @property
    def blocks(self) -> Sequence[NamedBlock]: ...

    @property
    def parameters(self) -> Sequence[Parameter]: ...

    @property
    def reuse_of(self) -> str | None:
        """The path of the layer that this one applies again."""


class NamedTree(Protocol):
    """Blocks and parameters by their paths. ``stored`` maps a path to its name in the file, where that differs."""

    @property
    def name(self) -> str: ...

    @property
    def separator(self) -> str: ...

    @property
    def blocks(self) -> Sequence[NamedBlock]: ...

    @property
    def parameters(self) -> Mapping[str, Parameter]: ...

    @property
    def stored(self) -> Mapping[str, str]: ...

    def walk(self) -> Iterator[NamedBlock]: ...

    def owners(self) -> Iterator[Parameter]: ...

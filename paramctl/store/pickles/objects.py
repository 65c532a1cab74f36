"""The inert objects that the pickle machine builds in place of a pickle's classes and calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Global:
    """The name of a class or a function, "torch._utils._rebuild_tensor_v2". Nothing is imported for it."""

    name: str


@dataclass(slots=True, eq=False)
class Record:
    """An object that a pickle builds by a call, which is recorded instead.

    callable: the class or function, mostly a Global.
    args, keywords: the arguments of the call; keywords are rare.
    state: the argument of BUILD, such as the attributes of the object; None without one.
    entries: what the pickle stores in it as in a dict.
    elements: what the pickle appends to it as to a list, or adds as to a set.

    Objects that refer to themselves are possible, so whatever walks over them visits each once.
    """

    callable: Any
    args: tuple[Any, ...] = ()
    keywords: Mapping[Any, Any] | None = None
    state: Any = None
    entries: dict[Any, Any] | None = None
    elements: list[Any] | None = None

    @property
    def name(self) -> str:
        """The full name of the class or function; empty if the pickle calls the result of another call."""
        return self.callable.name if isinstance(self.callable, Global) else ""


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """A long run of bytes in the pickle, or of text in UTF-8, that is left in its file.

    offset: of its first byte in the source.
    """

    offset: int
    size: int
    is_text: bool = False

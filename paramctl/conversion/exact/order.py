"""The order in which a program makes its layers: items of the option --order and the document's key ``order``.

encoder/**                 these layers are constructed next
rand(2, 4), randn(2, 4)    numbers that the program draws before or between, which are thrown away
dense/kernel=normal        these parameters are initialized again
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from paramctl.address.patterns import compile_pattern, is_pattern, nearest_hint
from paramctl.address.quoting import partition_address
from paramctl.declare.located import Located
from paramctl.errors import AddressError
from paramctl.init.registry import format_scheme
from paramctl.init.rules import LocatedScheme
from paramctl.model import Block
from paramctl.source.from_checkpoint import parse_scheme

THROWN_AWAY = ("rand", "randn")
MAX_AXES = 64


class Constructed(NamedTuple):
    """Layers that are constructed next: the pattern of their paths, or of their parameters' paths."""

    pattern: str

    @property
    def text(self) -> str:
        return self.pattern


class ThrownAway(NamedTuple):
    """Numbers that the program draws and this model does not use. function: ``rand`` or ``randn``."""

    function: str
    shape: tuple[int, ...]

    @property
    def text(self) -> str:
        return f"{self.function}({', '.join(map(str, self.shape))})"


class InitializedAgain(NamedTuple):
    """Parameters that are initialized again, after their construction, by a scheme as written."""

    pattern: str
    scheme: Located

    @property
    def text(self) -> str:
        return f"{self.pattern}={format_scheme(self.scheme)}"


OrderItem: TypeAlias = Constructed | ThrownAway | InitializedAgain


class NamedBlocks:
    """The blocks of a model, for items of an order that name them. blocks: each before those inside it."""

    def __init__(self, blocks: Iterable[Block]) -> None:
        self.blocks = [*blocks]
        self.numbers = {each.path: number for number, block in enumerate(self.blocks) for each in block.parameters}
        self.numbers |= {block.path: number for number, block in enumerate(self.blocks)}

    def named(self, pattern: str) -> list[Block]:
        """Return the blocks whose paths match a pattern, or whose parameters' paths do, with those inside them.

        Raises AddressError if it matches none.
        """
        matches, numbers = compile_pattern(pattern), self.numbers
        found = filter(matches, numbers) if is_pattern(pattern) else [pattern] if pattern in numbers else []
        named: dict[str, Block] = {}
        for number in sorted({numbers[name] for name in found}):
            if self.blocks[number].path not in named:
                named |= {block.path: block for block in self._with_inner(number)}
        if not named:
            hint = nearest_hint(pattern, (block.path for block in self.blocks))
            raise AddressError("order: no layer matches", repr(pattern), hint)
        return [*named.values()]

    def _with_inner(self, number: int) -> Iterator[Block]:
        """Yield a block and those inside it, which follow it."""
        first = self.blocks[number]
        yield first
        for later in range(number + 1, len(self.blocks)):
            if not self.blocks[later].path.startswith(f"{first.path}/"):
                return
            yield self.blocks[later]


def parse_order(items: Sequence[str], option: str = "--order") -> list[OrderItem]:
    """Return the items of an order. Raises AddressError for an item that cannot be read. option: for errors."""
    return [_parse(item.strip(), option) for item in items]


def _parse(item: str, option: str) -> OrderItem:
    call = re.fullmatch(r"([a-z]+)\(([0-9, ]*)\)", item)
    if call is not None:
        if call[1] not in THROWN_AWAY:
            raise AddressError(f"{option}: must call {' or '.join(THROWN_AWAY)}", repr(item))
        sizes = [size.strip() for size in call[2].split(",") if size.strip()]
        if len(sizes) > MAX_AXES or any(not size.isdecimal() or len(size) > 18 for size in sizes):
            raise AddressError(f"{option}: a shape has at most {MAX_AXES} sizes of at most 18 digits", repr(item))
        return ThrownAway(call[1], tuple(map(int, sizes)))
    if re.match(r"(torch\.)?randn?\(", item):
        raise AddressError(f"{option}: numbers that are thrown away have sizes alone, as in 'rand(2, 4)'", repr(item))
    pattern, equals, scheme = (part.strip() for part in partition_address(item))
    if not pattern or (equals and not scheme):
        raise AddressError(f"{option}: must be PATTERN, rand(SIZES), randn(SIZES) or PATTERN=SCHEME", repr(item))
    if not equals:
        return Constructed(pattern)
    parsed = parse_scheme(scheme, f"{option} {pattern}")
    if not isinstance(parsed, LocatedScheme):
        raise AddressError(f"{option} {pattern}: requires a named scheme", repr(scheme))
    return InitializedAgain(pattern, parsed.node)

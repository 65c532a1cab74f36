"""The groups of arrays in which statistics are joined: blocks at a depth, dtypes, and all arrays."""

from __future__ import annotations

from collections.abc import Sequence

from paramctl.errors import AddressError
from paramctl.inspect.stat import Unit, units_of_each
from paramctl.model import Block, Model
from paramctl.source.base import SelectedValues

PER = ("parameter", "block", "dtype")


def units(selection: Sequence[SelectedValues], per: str, depth: int = 1, first_names: bool = True) -> list[Unit]:
    """Return the units of a table: each selected array, or groups of these, in which each array counts once.

    per: one of PER. depth: the number of levels of blocks. A parameter outside all blocks is a group itself.
    first_names: a shared array belongs to the block of the first of its names, where summary counts it; otherwise to
        that of the first name that is selected.
    Raises AddressError if several slices of one array are selected.
    """
    if per == "parameter":
        return units_of_each(selection)
    names: dict[str, list[int]] = {}
    blocks: dict[str, str] = {}
    for number in _once(selection):
        selected = selection[number]
        model = selected.source.model
        blocks = blocks or _block_of_each(model, depth)
        path = model.counted_at(selected.path) if first_names else selected.path
        names.setdefault(selected.dtype if per == "dtype" else blocks.get(path, path), []).append(number)
    return [Unit(name, tuple(members), per) for name, members in names.items()]


def unit_of_all(selection: Sequence[SelectedValues]) -> Unit:
    """Return the unit of all selected arrays, each once."""
    return Unit("total", tuple(_once(selection)), "total")


def _once(selection: Sequence[SelectedValues]) -> list[int]:
    """Return the numbers of the selected arrays without those that are tied to an earlier one."""
    numbers: dict[str, int] = {}
    for number, selected in enumerate(selection):
        owner = selected.source.model.owner(selected.path).path
        if owner not in numbers:
            numbers[owner] = number
        elif not (selected.selection.everything and selection[numbers[owner]].selection.everything):
            rule = f"{selected.path}: a group has one selection of an array"
            raise AddressError(rule, f"{selection[numbers[owner]].name} and {selected.name}")
    return list(numbers.values())


def _block_of_each(model: Model, depth: int) -> dict[str, str]:
    """Return the path of the block of each parameter, at most at a depth, by the parameter's path."""
    result: dict[str, str] = {}

    def visit(blocks: Sequence[Block], level: int) -> None:
        for block in blocks:
            inner = block.walk() if level == depth else (block,)
            result.update((parameter.path, block.path) for each in inner for parameter in each.parameters)
            if level < depth:
                visit(block.blocks, level + 1)

    visit(model.blocks, 1)
    return result

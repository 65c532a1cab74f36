"""The work that freeze and unfreeze share: mark parameters in a document or a checkpoint, and report it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from paramctl.cli.render import tell
from paramctl.cli.retie import restructure
from paramctl.core.text import abbreviate, quantity

if TYPE_CHECKING:
    from paramctl.library.weights import Weights
    from paramctl.model import Model


def mark(
    source: str | None,
    patterns: Sequence[str],
    output: str | None,
    in_place: bool,
    force: bool,
    change: Callable[[Model | Weights, Sequence[str]], Model | Weights],
    trainable: bool,
) -> None:
    """Write a source with parameters frozen or trainable, and report on standard error which have changed.

    change: paramctl.freeze or paramctl.unfreeze.
    """
    before, _ = restructure(source, output, in_place, force, lambda arrays: change(arrays, patterns))
    from paramctl.edit.freeze import select_marks

    marks = select_marks(before, patterns, trainable)
    tell(_report(before, marks.paths, marks.changed, marks.state, trainable))
    if not trainable and (names := _without_initializer(before, marks.changed)):
        tell(f"'initializers' does not apply to frozen parameters: {abbreviate(names)}")


def _report(model: Model, paths: Sequence[str], changed: Sequence[str], state: Sequence[str], trainable: bool) -> str:
    """Return the line about what has changed, what was so before, and what shares an array."""
    from paramctl.model import shared_text

    verb, result = ("unfroze", "trainable") if trainable else ("froze", "frozen")
    values = sum(model.parameters[path].size for path in changed)
    parts = [f"{verb} {quantity(len(changed), 'parameter')}, {quantity(values, 'value')}"]
    if unchanged := len(paths) - len(changed):
        parts.append(f"{unchanged:,} {'was' if unchanged == 1 else 'were'} {result} before")
    if state:
        parts.append(f"{quantity(len(state), 'array')} of state stay{'s' if len(state) == 1 else ''} as before")
    shared = [f"{tie.tied} ({shared_text(tie.kept, tie.transpose)})" for tie in model.ties if tie.kept in changed]
    if shared:
        parts.append(f"{result} through a tie: {abbreviate(shared)}")
    return "; ".join(parts)


def _without_initializer(model: Model, paths: Sequence[str]) -> list[str]:
    """Return the parameters that a pattern of the document's initializers has matched."""
    from paramctl.address.patterns import compile_pattern

    patterns = [compile_pattern(pattern) for pattern, _ in model.initializers]
    return [path for path in paths if any(matches(path) for matches in patterns)]

"""summary and ties: facts about a model that need no values."""

from __future__ import annotations

from paramctl.inspect.summary import Summary, summarize
from paramctl.library.arguments import filters, whole
from paramctl.library.opening import Openable, as_model, openable
from paramctl.model import Model, Tie


def summary(
    model: Openable,
    *patterns: str,
    depth: int | None = None,
    trainable: bool | None = None,
    dtype: str | None = None,
    kind: str | None = None,
    min_size: int | None = None,
) -> Summary:
    """Summarize a model or a checkpoint: rows of layers and of parameters, and totals that count each array once.

    patterns: only what they match, and everything below it. depth: levels of blocks to expand; all by default.
    trainable, dtype, kind, min_size: only parameters like this.
    Raises AddressError for a pattern that matches nothing.
    """
    selected = filters(trainable, dtype, kind, min_size)
    depth = whole("depth", depth, 1)
    arrays = openable(model)
    if isinstance(arrays, Model):
        return summarize(arrays, patterns, depth, None, selected)
    origin = arrays.source.origin
    schemes = {path: recorded.scheme for path, recorded in origin.provenance.items()}
    return summarize(arrays.model, patterns, depth, schemes, selected, origin.missing)


def ties(model: Openable) -> tuple[Tie, ...]:
    """Return the ties of a model or checkpoint: pairs of a kept path and a tied one."""
    return as_model(model).ties

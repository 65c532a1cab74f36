"""summary and ties: facts about a model that need no values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from paramctl.address.resolve import Filters
from paramctl.inspect.packed import find_packed
from paramctl.inspect.shares import rank
from paramctl.inspect.sorts import SORTS
from paramctl.inspect.summary import Summary, summarize
from paramctl.library.arguments import choice, filters, whole
from paramctl.library.opening import Openable, as_model, openable
from paramctl.model import Model, Tie

if TYPE_CHECKING:
    from paramctl.library.weights import Weights

ROWS = ("layers", "parameters")


def summary(
    model: Openable,
    *patterns: str,
    depth: int | None = None,
    trainable: bool | None = None,
    dtype: str | None = None,
    kind: str | None = None,
    min_size: int | None = None,
    state: bool = False,
    sort: str | None = None,
    top: int | None = None,
    group: bool = False,
    only: str | None = None,
) -> Summary:
    """Summarize a model or a checkpoint: rows of layers and of parameters, and totals that count each array once.

    Rows of layers, and ``cost`` in total, have the multiply-accumulates for one example and the values of outputs.

    Weights that bitsandbytes, GPTQ, AWQ, compressed-tensors or gpt-oss packed in a few bits count as the parameters
    that they hold.

    patterns: only what they match, and everything below it. depth: levels of blocks to expand; all by default.
    trainable, dtype, kind, min_size: only parameters like this.
    state: add a row for each array of the file's optimizer, and let patterns select these too. ``optimizer`` in the
        summary has the rows, and no count of parameters includes them. Without it, ``optimizer`` counts the arrays.
    sort: the order of rows: ``parameters``, ``bytes`` or ``macs``, largest first, or ``path``; that of the model by
        default. Blocks that are expanded have no count of their own, and no row here. Parameters have no macs.
    top: the number of rows to keep of these, by parameters unless ``sort`` is given. Totals are still of all rows.
    group: one row for equal blocks, such as ``block-[0..11]``, with the sum of all. The path is a pattern.
    only: ``layers`` or ``parameters`` for rows of these alone, which takes less time; rows of both by default.

    With sort or top, each row has its share of the total, ``percent``, and that of all rows up to it, ``cumulative``:
    of ``sort`` if it is a number, else of parameters.
    Raises AddressError for a pattern that matches nothing.
    """
    selected = filters(trainable, dtype, kind, min_size)
    depth, top = whole("depth", depth, 1), whole("top", top, 1)
    choice("sort", sort, SORTS)
    choice("only", only, ROWS)
    facts = _facts(openable(model), patterns, depth, selected, state, group, only)
    return facts if sort is None and top is None else rank([facts], sort, top)[0]


def _facts(
    arrays: Model | Weights,
    patterns: Sequence[str],
    depth: int | None,
    selected: Filters,
    state: bool,
    group: bool,
    only: str | None,
) -> Summary:
    if isinstance(arrays, Model):
        return summarize(arrays, patterns, depth, None, selected, group=group, only=only)
    from paramctl.source.with_state import with_state  # imports NumPy, as weights do

    source, origin = arrays.source, arrays.source.origin
    schemes = {path: recorded.scheme for path, recorded in origin.provenance.items()}

    def read(path: str) -> bytes:
        return source.read(path, 0, arrays.parameters[path].size).tobytes()

    packed = find_packed(arrays.model, read)
    optimizer = list(origin.optimizer.arrays.values()) if origin.optimizer is not None else []
    model = with_state(source).model if state else source.model
    return summarize(model, patterns, depth, schemes, selected, origin.missing, packed, optimizer, group, only)


def ties(model: Openable) -> tuple[Tie, ...]:
    """Return the ties of a model or checkpoint: pairs of a kept path and a tied one."""
    return as_model(model).ties

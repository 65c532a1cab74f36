"""The inputs of an entry: the previous output, or the outputs that ``from`` names."""

from __future__ import annotations

from paramctl.declare.located import Located
from paramctl.declare.option_types import NamesType
from paramctl.model.budget import MAX_INPUTS
from paramctl.model.context import Context
from paramctl.model.entry import Entry
from paramctl.model.expand.state import State
from paramctl.model.expressions import ExpressionError
from paramctl.model.layers import LAYERS
from paramctl.model.scope import Output

_FROM = NamesType()


def find_inputs(state: State, entry: Entry, context: Context, previous: Output | None) -> list[Output]:
    """Return the inputs of an entry. Raises DocumentError for a name that is not an earlier output."""
    node = entry.common.get("from")
    if node is None:
        if previous is None:
            raise entry.node.error("the first layer of a model with several inputs requires 'from'")
        return [previous]
    names = _FROM.read(state.resolve(context, node), "from")
    if len(names) > MAX_INPUTS:
        raise node.error(f"a layer may have at most {MAX_INPUTS:,} inputs", f"{len(names):,}")
    return [context.find(name) for name in names]


def single_input(entry: Entry, inputs: list[Output]) -> Output:
    """Return the only input. Raises DocumentError if ``from`` names several."""
    if len(inputs) != 1:
        received = ", ".join(output.path for output in inputs)
        # Attention, for example, takes further inputs by name: {query: a, value: b}.
        references = LAYERS[str(entry.type.value)].references if entry.type.value in LAYERS else ()
        hint = f"Use its options {' and '.join(references)} for the other inputs." if len(references) > 1 else ""
        raise entry.common["from"].error(f"{entry.type.value} takes one input", received, hint)
    return inputs[0]


def input_sizes(inputs: list[Output]) -> Located:
    """Return the shape of the only input of an entry, without the batch axis, as a list. Raises ExpressionError."""
    if len(inputs) != 1:
        rule = "${input} is the shape of the only input"
        raise ExpressionError(rule, f"the inputs {', '.join(output.path for output in inputs)}")
    shape = inputs[0].shape
    if shape is None:
        hint = "Give it in the document or by --input-shape."
        raise ExpressionError("the shape of the input is unknown", inputs[0].path, hint)
    return Located([Located(size) for size in shape[1:]])


def paths(outputs: list[Output]) -> tuple[str, ...]:
    return tuple(output.path for output in outputs)

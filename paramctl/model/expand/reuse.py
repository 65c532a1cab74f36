"""Reuse: apply an earlier layer or block again with the same parameters.

The entry is expanded once more, from the blueprint of its first use, for the shapes and the connections. Its
parameters must have the same shapes as before, and the new block refers to the first one instead of holding them.
"""

from __future__ import annotations

from dataclasses import replace

from paramctl.model.budget import BLOCK_COST
from paramctl.model.context import Blueprint, Context, Expanded
from paramctl.model.entry import Entry
from paramctl.model.expand.inputs import single_input
from paramctl.model.expand.layer import describe, read_layer
from paramctl.model.expand.state import Application, Expander, State
from paramctl.model.layers.branching import Reuse
from paramctl.model.scope import Output
from paramctl.model.tree import Block


def apply_again(expander: Expander, entry: Entry, context: Context, inputs: list[Output], path: str | None) -> Expanded:
    """Return the block of a reuse.

    path: the path of the new block, or None to keep the path of the first use.
    Raises DocumentError if the reused name is not a layer or block, or if the shape of a parameter would change.
    """
    state = expander.state
    state.budget.charge(entry.node, BLOCK_COST)
    reuse = read_layer(state, entry, context)
    assert isinstance(reuse, Reuse)
    for option in ("trainable", "dtype"):
        if option in entry.common:
            raise entry.common[option].error(f"a reuse may not set {option!r}: set it on the first use")
    first = context.find(reuse.layer).blueprint
    if not isinstance(first, Blueprint):
        raise reuse.layer.error("only a layer or a block can be reused")
    if first.block.layer is None or first.block.layer.arity == 1:
        single_input(entry, inputs)
    expanded = _expand_blueprint(expander, first, entry, context, inputs, path or first.block.path)
    change = _changed_parameter(first.block, expanded.block)
    if change:
        rule = f"{first.block.path} is applied again, so its parameters must keep their shapes"
        raise entry.at.error(rule, f"{change} with {' and '.join(map(describe, inputs))}")
    expanded.output.blueprint = first
    return Expanded(replace(expanded.block, parameters=(), reuse_of=first.parameters_at), expanded.output)


def _expand_blueprint(
    expander: Expander, first: Blueprint, entry: Entry, context: Context, inputs: list[Output], path: str
) -> Expanded:
    """Expand the entry of the first use again, in its context, with new inputs."""
    state = expander.state
    # The depth also counts the blocks around the reuse: reuses within reuses must not exceed the limit.
    depth = max(first.context.depth, context.depth) + 1
    first_context = first.context._replace(depth=depth, as_of=first.as_of)
    outer_templates, state.active_templates = state.active_templates, first.templates
    state.active_reuses.append((path, first.parameters_at))
    expanded = expander.make(Application(first.entry._replace(at=entry.at), first_context, inputs, path))
    state.active_reuses.pop()
    state.active_templates = outer_templates
    return expanded


def parameters_at(state: State, path: str) -> str:
    """Return where the parameters of a block are: at its own path, or, inside a reuse, at the first use.

    While ``encoder`` is applied again as ``encoder_2``, ``encoder_2/dense`` has the parameters of ``encoder/dense``.
    """
    for new, first in reversed(state.active_reuses):
        if path == new or path.startswith(f"{new}/"):
            return first + path[len(new) :]
    return path


def _changed_parameter(first: Block, again: Block) -> str:
    """Return a parameter whose shape differs between two uses, with both shapes, or an empty string."""
    before = [parameter for block in first.walk() for parameter in block.parameters]
    after = [parameter for block in again.walk() for parameter in block.parameters]
    # both uses expand the same entry, so the parameters are in the same order
    for old, new in zip(before, after, strict=False):
        if old.shape != new.shape:
            return f"{old.path} {old.shape} would be {new.shape}"
    return "" if len(before) == len(after) else f"{len(before)} parameters would be {len(after)}"

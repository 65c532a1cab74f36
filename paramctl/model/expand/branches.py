"""Layers with branches: each branch is a list of layers that takes the same input, and the layer merges the outputs.

residual: [...]                         the layers are directly in the block: residual/dense
parallel: {branches: {a: [...]}}        a named branch is a block of its own: parallel/a/dense
experts: {count: 8, layers: [...]}      the layer itself has a router: experts/router, experts/expert-0/dense
"""

from __future__ import annotations

from paramctl.model.budget import BLOCK_COST
from paramctl.model.context import Context, Expanded
from paramctl.model.expand.inputs import paths, single_input
from paramctl.model.expand.layer import apply_layer, infer
from paramctl.model.expand.state import Application, Expander
from paramctl.model.layers.branching import Branch, Branching
from paramctl.model.names import check_name
from paramctl.model.scope import Output
from paramctl.model.tree import Block


def expand_branches(expander: Expander, layer: Branching, application: Application) -> Expanded:
    """Return the block of a layer with branches."""
    entry, context, inputs, path = application
    state = expander.state
    state.budget.charge(entry.node, BLOCK_COST)
    taken = single_input(entry, inputs)
    branches: list[Branch] = []
    for branch in layer.lists():  # charged one by one: ``experts`` may ask for any number
        state.budget.charge(entry.node, BLOCK_COST if branch.name else 0)
        branches.append(branch)
    unnamed = next((branch.entries for branch in branches if branch.name is None), None)
    inner = context.inside(path, unnamed, state.completed)
    for branch in branches:
        if branch.name is not None and branch.entries is not None:
            inner.scope.claim(check_name(branch.name), branch.name)
    blocks: list[Block] = []
    outputs: dict[str, Output] = {}
    # first, so that the layer finds their outputs before those of its lists
    for name, own in layer.own_layers().items():
        expanded = apply_layer(state, own, Application(entry, inner, [taken], f"{path}/{name}"))
        blocks.append(expanded.block)
        outputs[name] = expanded.output
    for branch in branches:
        name = str(branch.name.value) if branch.name else ""
        branch_blocks, outputs[name] = _expand_branch(expander, branch, inner, taken, name)
        blocks += branch_blocks
    shape, _ = infer(layer, application, list(outputs.values()))
    # Later entries may name a branch, ``parallel/a``, but the branches may not name each other.
    for name, output in outputs.items():
        if name:
            inner.scope.put(name, output)
    merged = Output(path, shape, inner.scope)
    numbers = state.numbers(merged, inputs, outputs.values())
    return Expanded(Block(path, layer.type, shape, paths(inputs), (), tuple(blocks), layer, None, *numbers), merged)


def _expand_branch(
    expander: Expander, branch: Branch, inner: Context, taken: Output, name: str
) -> tuple[list[Block], Output]:
    """Return the blocks of one branch and its output, which is its input if the branch is empty."""
    if branch.entries is None:
        return [], taken
    if not name:
        blocks, output = expander.expand(branch.entries, inner, taken)
        return blocks, output or taken
    path = f"{inner.path}/{name}"
    context = inner.inside(path, branch.entries, expander.state.completed)
    blocks, output = expander.expand(branch.entries, context, taken)
    if not blocks or output is None:
        return [], taken
    result = Output(path, output.shape, context.scope)
    numbers = expander.state.numbers(result, [taken], [output])
    block = Block(path, "branch", output.shape, (taken.path,), (), tuple(blocks), None, None, *numbers)
    return [block], result

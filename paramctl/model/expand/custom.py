"""Custom blocks: expand the layers of a template with the variables of one use."""

from __future__ import annotations

from paramctl.model.budget import BLOCK_COST, resolve_cost
from paramctl.model.context import Expanded
from paramctl.model.expand.inputs import input_sizes, paths, single_input
from paramctl.model.expand.state import Application, Expander
from paramctl.model.scope import Output
from paramctl.model.tree import Block


def expand_template(expander: Expander, application: Application) -> Expanded:
    """Return the block of an entry whose type is a custom block. Raises DocumentError if the block uses itself."""
    entry, context, inputs, path = application
    state = expander.state
    state.budget.charge(entry.node, entry.node.size + BLOCK_COST + resolve_cost(entry.node))
    name = str(entry.type.value)
    if name in state.active_templates:
        chain = " -> ".join((*state.active_templates[state.active_templates.index(name) :], name))
        raise entry.type.error("a block may not use itself", chain)
    template = state.templates[name]
    state.budget.charge(entry.node, sum(resolve_cost(default) for default in template.options.values()))
    taken = single_input(entry, inputs)
    # like a function, a block has its own options and the document's variables, but not those of its caller
    variables = template.bind(entry, context.variables, state.variables, lambda: input_sizes(inputs))
    inner = context.inside(path, template.layers, state.completed)._replace(variables=variables)
    outer_templates, state.active_templates = state.active_templates, (*state.active_templates, name)
    blocks, output = expander.expand(template.layers, inner, taken)
    state.active_templates = outer_templates
    output = output or taken  # an empty block returns its input
    result = Output(path, output.shape, inner.scope)
    numbers = state.numbers(result, inputs, [output])
    return Expanded(Block(path, name, output.shape, paths(inputs), (), tuple(blocks), None, None, *numbers), result)

"""Expand the entries of a document to blocks: resolve variables, unroll repeats, find inputs, infer shapes, give names.

An entry is expanded in this order: read it, unroll its repeats, check its condition, claim its name, find its inputs,
and make its block. How the block is made depends on its type:

    layer.py       a layer has an output shape and parameters
    branches.py    a layer with branches has lists of layers, and merges their outputs
    custom.py      a custom block has one list of layers, and variables
    reuse.py       a reuse expands an earlier entry again, with the same parameters
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from paramctl.core.parameter import FLOAT_DTYPES
from paramctl.declare.located import MAX_DEPTH, Located
from paramctl.declare.option_types import NATURAL, ChoiceType, FlagType
from paramctl.model.budget import MAX_EXPANDED, too_large
from paramctl.model.context import Blueprint, Context, Expanded
from paramctl.model.entry import Entry
from paramctl.model.expand.branches import expand_branches
from paramctl.model.expand.custom import expand_template
from paramctl.model.expand.inputs import find_inputs, input_sizes
from paramctl.model.expand.layer import apply_layer, read_layer
from paramctl.model.expand.naming import claim_name, is_reuse, join_path
from paramctl.model.expand.reuse import apply_again, parameters_at
from paramctl.model.expand.state import Application, State
from paramctl.model.expressions import EntryVariables, Variables
from paramctl.model.layers.branching import Branching
from paramctl.model.names import check_name
from paramctl.model.scope import Output
from paramctl.model.template import Template
from paramctl.model.tree import Block

_FLAG, _DTYPE = FlagType(), ChoiceType(*FLOAT_DTYPES)


class Expansion:
    """The expansion of one document."""

    def __init__(
        self, templates: Mapping[str, Template], variables: Variables, entries: dict[str, Entry] | None = None
    ) -> None:
        self.state = State(templates, variables, entries)

    def expand(self, entries: Located, context: Context, previous: Output | None) -> tuple[list[Block], Output | None]:
        """Return the blocks of a list of entries, and the output of the last one.

        previous: the input of the first entry, which is also the output of an empty list.
        """
        if context.depth > MAX_DEPTH:
            raise entries.error(f"blocks may nest at most {MAX_DEPTH} deep", context.path)
        blocks = []
        assert isinstance(entries.value, list)
        for node in entries.value:
            for expanded in self._expand_entry(node, context, previous):
                blocks.append(expanded.block)
                previous = expanded.output
        return blocks, previous

    def make(self, application: Application) -> Expanded:
        """Return the block of an entry that has a path and inputs."""
        entry, context, _, path = application
        if self.state.entries is not None:
            self.state.entries.setdefault(path, entry)
        as_of = self.state.completed  # before the entry: a reuse must not see what the entry itself adds
        if str(entry.type.value) in self.state.templates:
            expanded = expand_template(self, application)
        else:
            layer = read_layer(self.state, entry, context)
            if isinstance(layer, Branching):
                expanded = expand_branches(self, layer, application)
            else:
                expanded = apply_layer(self.state, layer, application)
        self.state.completed += 1
        output = expanded.output
        output.step = self.state.completed
        held_at = parameters_at(self.state, path)
        output.blueprint = Blueprint(entry, context, expanded.block, held_at, self.state.active_templates, as_of)
        return expanded

    def _expand_entry(self, node: Located, context: Context, previous: Output | None) -> Iterator[Expanded]:
        """Yield a block for each repetition of an entry. Each takes the output of the one before."""
        entry = self.state.entry(node)
        context = self._with_input(entry, context, previous)
        repeat = entry.common.get("repeat")
        if repeat is None:
            contexts, times = iter([context]), 1
        else:
            times = NATURAL.read(self.state.resolve(context, repeat), "repeat")
            if times > MAX_EXPANDED:
                raise too_large(repeat)
            contexts = (_with_index(context, index) for index in range(times))
        for indexed in contexts:  # charged even if omitted: ``repeat: 1000000, when: false`` takes time too
            self.state.budget.charge(node, 1)
            repetition = self._with_input(entry, indexed, previous)
            if self._is_present(entry, repetition):
                expanded = self._expand_once(entry, repetition, previous, times)
                previous = expanded.output
                yield expanded

    def _with_input(self, entry: Entry, context: Context, previous: Output | None) -> Context:
        """Return the context in which the expressions of an entry see the shape of its input.

        previous: the output before the entry.
        """
        if not entry.node.dynamic:
            return context

        def find() -> Located:
            return input_sizes(find_inputs(self.state, entry, context, previous))

        return context._replace(variables=EntryVariables(context.variables, find))

    def _is_present(self, entry: Entry, context: Context) -> bool:
        """Return the condition ``when`` of an entry. The name of an omitted entry is recorded for errors."""
        when = entry.common.get("when")
        if when is None or _FLAG.read(self.state.resolve(context, when), "when"):
            return True
        if "name" in entry.common:
            name = check_name(self.state.resolve(context, entry.common["name"]))
            self.state.budget.charge(when, len(name) // 8)
            context.scope.omit(name, when, self.state.completed + 1)
        return False

    def _expand_once(self, entry: Entry, context: Context, previous: Output | None, times: int) -> Expanded:
        """Return the block of one repetition of an entry."""
        name = claim_name(self.state, entry, context, times)
        inputs = find_inputs(self.state, entry, context, previous)  # before the name refers to this entry
        if "trainable" in entry.common:
            trainable = _FLAG.read(self.state.resolve(context, entry.common["trainable"]), "trainable")
            context = context._replace(trainable=context.trainable and trainable)
        if "dtype" in entry.common:
            context = context._replace(dtype=_DTYPE.read(self.state.resolve(context, entry.common["dtype"]), "dtype"))
        if name is None:
            return apply_again(self, entry, context, inputs, None)
        path = join_path(self.state, entry, context, name)
        if is_reuse(entry):
            expanded = apply_again(self, entry, context, inputs, path)
        else:
            expanded = self.make(Application(entry, context, inputs, path))
        context.scope.put(name, expanded.output)
        return expanded


def _with_index(context: Context, index: int) -> Context:
    """Return the context of one repetition, in which ``${i}`` is its index."""
    return context._replace(variables=Variables({"i": Located(index)}, context.variables))

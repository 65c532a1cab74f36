"""Lists of entries to blocks: variables filled in, repeats unrolled, shapes inferred, names given.

The straight line of one entry: read it, fill in its variables, find its inputs, make it. What is
made depends on its type: a layer has parameters and an output shape; a block of one's own and
a layer with branches hold lists, which are expanded in turn; a reuse makes again what an earlier
entry made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from paramctl.core.parameter import Parameter
from paramctl.declare.located import MAX_DEPTH, MAX_INTEGER, Located
from paramctl.declare.option_types import MAX_AXES, NATURAL, FlagType, NamesType
from paramctl.declare.options import arguments_by_name
from paramctl.errors import DocumentError, suggest
from paramctl.model.budget import (
    BLOCK_COST,
    LAYER_COST,
    MAX_EXPANDED,
    MAX_INPUTS,
    MAX_PATH,
    Budget,
    resolve_cost,
    too_large,
)
from paramctl.model.context import Blueprint, Context, Expanded
from paramctl.model.entry import Entry, read_entry
from paramctl.model.expressions import Variables
from paramctl.model.layers import FUNCTIONS, KERAS_ONLY_LAYERS, LAYERS, Layer, ShapeError, Sizes
from paramctl.model.layers.base import snake_case
from paramctl.model.layers.branching import Branch, Branching, Reuse
from paramctl.model.layers.core import Activation
from paramctl.model.names import check_name
from paramctl.model.scope import Output
from paramctl.model.template import Template
from paramctl.model.tree import Block, shape_text

MAX_BITS = 512

_FLAG = FlagType()
_FROM = NamesType()


class Expansion:
    """Expands the lists of one document; counts what they come to, to stay within the limits."""

    def __init__(self, templates: Mapping[str, Template], variables: Variables, dtype: str) -> None:
        self.templates = templates
        self.variables = variables
        self.dtype = dtype
        self.budget = Budget()
        self.outputs = 0
        self.numbered = 0
        self.using: tuple[str, ...] = ()
        self.copies: list[tuple[str, str]] = []  # (path, the path of its parameters) of what is being applied again
        self._entries: dict[int, Entry] = {}
        self._layers: dict[int, Layer] = {}

    def expand(self, entries: Located, site: Context, given: Output | None) -> tuple[list[Block], Output | None]:
        """A list's blocks, and what the last one gives; what is given to the first, if there is none."""
        if site.depth > MAX_DEPTH:
            raise entries.error(f"blocks may nest at most {MAX_DEPTH} deep", site.path)
        blocks = []
        assert isinstance(entries.value, list)
        for node in entries.value:
            for made in self._repeated(node, site, given):
                blocks.append(made.block)
                given = made.output
        return blocks, given

    def _repeated(self, node: Located, site: Context, given: Output | None) -> Iterator[Expanded]:
        """What one entry makes: once, or as often as it repeats; each takes what the one before gives."""
        entry = self._entries.get(id(node)) or self._entries.setdefault(id(node), read_entry(node))
        repeat = entry.common.get("repeat")
        if repeat is None:
            sites, times = iter([site]), 1
        else:
            times = NATURAL.read(self._resolve(site, repeat), "repeat")
            if times > MAX_EXPANDED:
                raise too_large(repeat)
            sites = (site._replace(env=Variables({"i": Located(i)}, site.env)) for i in range(times))
        for each in sites:
            self.budget.spend(node, 1)
            if self._present(entry, each):
                made = self._one(entry, each, given, times)
                given = made.output
                yield made

    def _present(self, entry: Entry, site: Context) -> bool:
        when = entry.common.get("when")
        if when is None or _FLAG.read(self._resolve(site, when), "when"):
            return True
        if "name" in entry.common:
            name = check_name(self._resolve(site, entry.common["name"]))
            self.budget.spend(when, len(name) // 8)
            site.scope.leave_out(name, when, self.outputs)
        return False

    def _one(self, entry: Entry, site: Context, given: Output | None, times: int) -> Expanded:
        name = self._name(entry, site, times)
        inputs = self._inputs(entry, site, given)
        if "trainable" in entry.common:
            trainable = _FLAG.read(self._resolve(site, entry.common["trainable"]), "trainable")
            site = site._replace(trainable=site.trainable and trainable)
        if name is None:
            return self._reuse(entry, site, inputs, None)
        path = f"{site.path}/{name}" if site.path else name
        self.budget.spend(entry.node, len(path) // 32)
        if len(path) > MAX_PATH:
            raise entry.node.error(f"a path may have at most {MAX_PATH:,} characters", f"{len(path):,}")
        made = self._reuse(entry, site, inputs, path) if _is_reuse(entry) else self._make(entry, site, inputs, path)
        site.scope.put(name, made.output)
        return made

    def _name(self, entry: Entry, site: Context, times: int) -> str | None:
        """The name an entry has or gets; None for a reuse without one, which stands under its first."""
        node = entry.common.get("name")
        if node is None:
            if _is_reuse(entry):
                return None
            type_name = str(entry.type.value)
            is_function = type_name in FUNCTIONS and type_name not in LAYERS and type_name not in self.templates
            name = site.scope.automatic(Activation.type if is_function else type_name)
            site.scope.claim(name, entry.type)
            return name
        if times > 1 and not node.dynamic:
            check_name(node)
            hint = f"Write '{node.value}-${{i}}', or no name: then they are numbered."
            raise node.error("an entry that repeats may not have a fixed name", hint=hint)
        name = check_name(self._resolve(site, node))
        site.scope.claim(name, node)
        return name

    def _inputs(self, entry: Entry, site: Context, given: Output | None) -> list[Output]:
        node = entry.common.get("from")
        if node is None:
            if given is None:
                raise entry.node.error("the first layer of a model with several inputs must say 'from'")
            return [given]
        names = _FROM.read(self._resolve(site, node), "from")
        if len(names) > MAX_INPUTS:
            raise node.error(f"a layer may have at most {MAX_INPUTS:,} inputs", f"{len(names):,}")
        return [site.find(name) for name in names]

    def _make(self, entry: Entry, site: Context, inputs: list[Output], path: str) -> Expanded:
        """A layer, a layer with branches or a block of one's own, by the entry's type."""
        type_name = str(entry.type.value)
        before = self.outputs
        if type_name in self.templates:
            made = self._from_template(entry, site, inputs, path)
        else:
            layer = self._layer(entry, site)
            if isinstance(layer, Branching):
                made = self._with_branches(layer, entry, site, inputs, path)
            else:
                made = self._plain(layer, entry, site, inputs, path)
        self.outputs += 1
        made.output.order = self.outputs
        made.output.recipe = Blueprint(entry, site, made.block, self._stands_at(path), self.using, before)
        return made

    def _stands_at(self, path: str) -> str:
        """Where the parameters of what is made at a path stand: elsewhere, within what is applied again."""
        for copy, original in reversed(self.copies):
            if path == copy or path.startswith(f"{copy}/"):
                return original + path[len(copy) :]
        return path

    def _layer(self, entry: Entry, site: Context) -> Layer:
        """The layer of an entry with its options read; one without variables is read but once."""
        known = self._layers.get(id(entry.node))
        if known is not None:
            return known
        type_name = str(entry.type.value)
        cls: Any = LAYERS.get(type_name) or FUNCTIONS.get(type_name)
        if cls is None:
            if type_name.lower() in KERAS_ONLY_LAYERS:
                rule = "this layer of Keras is not supported in a model document"
                raise entry.type.error(rule, hint="'paramctl layers' lists those that are.")
            known_types = [*self.templates, *LAYERS, *FUNCTIONS]
            raise entry.type.error("no layer or block has this type", hint=suggest(snake_case(type_name), known_types))
        if type_name in LAYERS and cls.arity != 1 and entry.arguments and isinstance(entry.arguments.value, list):
            raise entry.arguments.error(
                f"what {type_name} merges is named by 'from'", hint=f"Write {type_name}: {{from: [...]}}."
            )
        given = arguments_by_name(type_name, entry.arguments, cls.signature)
        resolved = {
            name: node if name in cls.signature and cls.signature[name].type.deferred else self._resolve(site, node)
            for name, node in given.items()
        }
        made = cls.read(type_name, entry.at, resolved)
        layer: Layer = made if type_name in LAYERS else Activation(activation=made)
        if not entry.node.dynamic:
            self._layers[id(entry.node)] = layer
        return layer

    def _plain(self, layer: Layer, entry: Entry, site: Context, inputs: list[Output], path: str) -> Expanded:
        self.budget.spend(entry.node, entry.node.size + LAYER_COST)
        self._check_number(layer, entry, inputs, path)
        references = {name: site.find(node) for name in layer.references if (node := getattr(layer, name)) is not None}
        taken = [*inputs, *references.values()]
        shape, parameters = self._infer(layer, entry, path, inputs, references)
        own = tuple(parameter.under(path, self.dtype, site.trainable) for parameter in parameters)
        block = Block(path, layer.type, shape, _paths(taken), own, (), layer)
        return self._made(block, Output(path, shape), taken)

    def _check_number(self, layer: Layer, entry: Entry, inputs: list[Output], path: str) -> None:
        if layer.arity == 1:
            _single(entry, inputs)
        elif len(inputs) != layer.arity if layer.arity else len(inputs) < 2:
            many = f"{layer.arity} outputs" if layer.arity else "two outputs or more"
            raise entry.at.error(f"{layer.type} merges {many}: name them with 'from'", path)

    def _infer(
        self,
        layer: Layer,
        entry: Entry,
        path: str,
        inputs: list[Output],
        references: Mapping[str, Output] = MappingProxyType({}),
    ) -> tuple[Sizes | None, list[Parameter]]:
        """A layer's output shape and its parameters; None and nothing if an input's shape is not known."""
        taken = [*inputs, *references.values()]
        shapes = [output.shape for output in inputs if output.shape is not None]
        others = {name: output.shape for name, output in references.items() if output.shape is not None}
        if len(shapes) + len(others) < len(taken):
            return None, []
        try:
            for shape in (*shapes, *others.values()):
                layer.check_axes(shape)
            output = layer.output(*shapes, **others)
            parameters = list(layer.parameters(*shapes, **others))
            _check_sizes(output, parameters)
            return output, parameters
        except ShapeError as error:
            raise _misfit(entry, path, str(error), taken) from None

    def _with_branches(
        self, layer: Branching, entry: Entry, site: Context, inputs: list[Output], path: str
    ) -> Expanded:
        self.budget.spend(entry.node, BLOCK_COST)
        given = _single(entry, inputs)
        lists = layer.lists()
        inner = site.inside(path, next((each.entries for each in lists if each.name is None), None), self.outputs)
        for each in lists:
            if each.name is not None and each.entries is not None:
                inner.scope.claim(check_name(each.name), each.name)
        blocks: list[Block] = []
        merged: dict[str, Output] = {}
        for each in lists:
            segment = str(each.name.value) if each.name else ""
            made, merged[segment] = self._branch(each, inner, given, path, segment)
            blocks += made
        shape, _ = self._infer(layer, entry, path, list(merged.values()))
        for segment, output in merged.items():
            if segment:
                inner.scope.put(segment, output)
        block = Block(path, layer.type, shape, _paths(inputs), (), tuple(blocks), layer)
        return self._made(block, Output(path, shape, inner.scope), inputs, merged.values())

    def _branch(
        self, branch: Branch, inner: Context, given: Output, path: str, segment: str
    ) -> tuple[list[Block], Output]:
        """One list of a layer with branches: its layers as they stand, or a block of its own that holds them."""
        if branch.entries is None:
            return [], given
        if not segment:
            blocks, output = self.expand(branch.entries, inner, given)
            return blocks, output or given
        path = f"{path}/{segment}"
        site = inner.inside(path, branch.entries, self.outputs)
        blocks, output = self.expand(branch.entries, site, given)
        if not blocks or output is None:
            return [], given
        block = Block(path, "branch", output.shape, (given.path,), (), tuple(blocks))
        made = self._made(block, Output(path, output.shape, site.scope), [given], [output])
        return [made.block], made.output

    def _from_template(self, entry: Entry, site: Context, inputs: list[Output], path: str) -> Expanded:
        self.budget.spend(entry.node, entry.node.size + BLOCK_COST + resolve_cost(entry.node))
        name = str(entry.type.value)
        if name in self.using:
            chain = " -> ".join((*self.using[self.using.index(name) :], name))
            raise entry.type.error("a block may not use itself", chain)
        template = self.templates[name]
        self.budget.spend(entry.node, sum(resolve_cost(default) for default in template.options.values()))
        given = _single(entry, inputs)
        env = template.variables(entry, site.env, self.variables)
        inner = site.inside(path, template.layers, self.outputs)._replace(env=env)
        around, self.using = self.using, (*self.using, name)
        blocks, output = self.expand(template.layers, inner, given)
        self.using = around
        output = output or given
        block = Block(path, name, output.shape, _paths(inputs), (), tuple(blocks))
        return self._made(block, Output(path, output.shape, inner.scope), inputs, [output])

    def _reuse(self, entry: Entry, site: Context, inputs: list[Output], path: str | None) -> Expanded:
        self.budget.spend(entry.node, BLOCK_COST)
        reuse = self._layer(entry, site)
        assert isinstance(reuse, Reuse)
        if "trainable" in entry.common:
            raise entry.common["trainable"].error("a reuse has no 'trainable': the first use has it")
        original = site.find(reuse.layer)
        recipe = original.recipe
        if not isinstance(recipe, Blueprint):
            raise reuse.layer.error("only a layer or a block can be reused")
        first = recipe.block
        if recipe.block.layer is None or recipe.block.layer.arity == 1:
            _single(entry, inputs)
        around, self.using = self.using, recipe.using
        again = recipe.site._replace(depth=max(recipe.site.depth, site.depth) + 1, as_of=recipe.as_of)
        self.copies.append((path or first.path, recipe.stands_at))
        made = self._make(recipe.entry._replace(at=entry.at), again, inputs, path or first.path)
        self.copies.pop()
        self.using = around
        changed = _changed(first, made.block)
        if changed:
            rule = f"{first.path} is applied again, so its parameters must keep their shapes"
            raise entry.at.error(rule, f"{changed} with {' and '.join(map(_described, inputs))}")
        made.output.recipe = recipe
        return Expanded(replace(made.block, parameters=(), reuse_of=recipe.stands_at), made.output)

    def _made(self, block: Block, output: Output, takes: Iterable[Output], ends: Iterable[Output] = ()) -> Expanded:
        """A block and its output, which gets a number, with the numbers of what it takes and of what in it ends it."""
        self.numbered += 1
        output.number = self.numbered
        return Expanded(
            replace(block, input_ids=_numbers(takes), output_id=output.number, inner_ids=_numbers(ends)), output
        )

    def _resolve(self, site: Context, node: Located) -> Located:
        """A node with its variables filled in, the work of it counted."""
        if node.dynamic:
            self.budget.spend(node, resolve_cost(node))
        return site.env.resolve(node)


def _is_reuse(entry: Entry) -> bool:
    return entry.type.value == Reuse.type


def _single(entry: Entry, inputs: list[Output]) -> Output:
    if len(inputs) != 1:
        received = ", ".join(output.path for output in inputs)
        others = LAYERS[str(entry.type.value)].references if entry.type.value in LAYERS else ()
        hint = f"Name the others by its options {' and '.join(others)}." if len(others) > 1 else ""
        raise entry.common["from"].error(f"{entry.type.value} takes one input", received, hint)
    return inputs[0]


def _check_sizes(shape: Sizes, parameters: list[Parameter]) -> None:
    """Sizes are arithmetic, but only as long as an array could have them, or a float its number of values."""
    if len(shape) > MAX_AXES:
        raise ShapeError(f"its output would have {len(shape)} axes, over {MAX_AXES}")
    largest = max((size or 0 for size in shape), default=0)
    if largest > MAX_INTEGER:
        raise ShapeError(f"its output would have an axis of {largest:,}, which does not fit in 64 bits")
    for parameter in parameters:
        if parameter.size.bit_length() > MAX_BITS:
            raise ShapeError(f"its {parameter.path} would have over 2^{MAX_BITS} values")


def _paths(outputs: list[Output]) -> tuple[str, ...]:
    return tuple(output.path for output in outputs)


def _numbers(outputs: Iterable[Output]) -> tuple[int, ...]:
    return tuple(output.number for output in outputs)


def _changed(first: Block, again: Block) -> str:
    """A parameter whose shape differs when a block is applied again, with both shapes; or nothing."""
    were = [parameter for block in first.walk() for parameter in block.parameters]
    are = [parameter for block in again.walk() for parameter in block.parameters]
    for was, now in zip(were, are, strict=False):
        if was.shape != now.shape:
            return f"{was.path} {was.shape} would be {now.shape}"
    return "" if len(were) == len(are) else f"{len(were)} parameters would be {len(are)}"


def _described(output: Output) -> str:
    return f"{output.path} {shape_text(output.shape)}"


def _misfit(entry: Entry, path: str, rule: str, taken: list[Output]) -> DocumentError:
    """The error of shapes that do not fit: the layer, what it asks, and which outputs it got."""
    return entry.at.error(f"{path}: {rule}", " and ".join(_described(output) for output in taken))

"""Build a model from a document: read its header, expand its layers, and resolve its ties and initializers."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

from paramctl.address.patterns import compile_pattern, is_pattern, nearest_hint
from paramctl.core.parameter import Parameter
from paramctl.declare.located import Located
from paramctl.declare.option_types import SchemeType
from paramctl.errors import AddressError, suggest
from paramctl.model.context import Context
from paramctl.model.entry import Entry, literal_names
from paramctl.model.expand import Expansion
from paramctl.model.expressions import Variables
from paramctl.model.header import Header, InputType, MappingType, TieDeclaration, mapping_of, read_header
from paramctl.model.layers import Sizes
from paramctl.model.names import check_identifier, check_name, normalized
from paramctl.model.scope import Output, Scope
from paramctl.model.template import read_templates
from paramctl.model.tree import Input, Model, Tie, shape_text

MAX_COMPARISONS = 3_000_000


def build(
    document: Located,
    name: str = "model",
    variables: Mapping[str, Located] | None = None,
    input_shapes: Mapping[str | None, Located] | None = None,
    entries: dict[str, Entry] | None = None,
) -> Model:
    """Return the model of a document.

    name: the model's name if the document has none.
    variables: values that replace those of the document's ``vars``, by name.
    input_shapes: shapes that replace those of the inputs, by name, or under None for the only input.
    entries: filled with the entry of each block, by the block's path.
    Raises DocumentError, with line and column, if anything in the document is wrong.
    """
    bound = _bind_variables(document, variables or {})
    header = read_header(document, bound)
    inputs = _inputs(header, document, input_shapes or {})
    if header.inputs is not None and header.input is not None:
        raise document.key("inputs").error("a document may have 'input' or 'inputs', not both")
    outer = Scope(None)
    for index, entry in enumerate(inputs):
        outer.put(entry.name, Output(entry.name, entry.shape, number=-1 - index))
    # Layers may have the name of an input, so inputs are in a scope around the layers.
    scope = Scope(outer, literal_names(header.layers))
    expansion = Expansion(read_templates(header.blocks), bound, entries)
    first = next(iter(outer.outputs.values())) if len(inputs) == 1 else None
    blocks, last = expansion.expand(header.layers, Context("", scope, bound, True, header.dtype, 1), first)
    if not blocks or last is None:
        raise header.layers.error("a model must have at least one layer")
    outputs = [scope.find(node) for node in header.outputs] if header.outputs else [last]
    model = Model(
        name=header.name or name,
        inputs=inputs,
        outputs=tuple(output.path for output in outputs),
        blocks=tuple(blocks),
        output_ids=tuple(output.number for output in outputs),
        seed=header.seed,
        order=tuple(str(node.value) for node in header.order or ()),
    )
    matcher = _Matcher(model)
    ties = _ties(header, matcher)
    model = replace(model, ties=ties)
    return replace(model, initializers=_initializers(header, model, matcher))


def _bind_variables(document: Located, values: Mapping[str, Located]) -> Variables:
    """Return the document's variables, some replaced by ``values``. Each value may use earlier variables."""
    assert isinstance(document.value, dict)
    node = document.value.get("vars")
    declared = mapping_of(MappingType().read(node, "vars")) if node is not None else {}
    for name, value in values.items():
        if name not in declared:
            hint = suggest(name, declared) or (
                f"Its variables are {', '.join(declared)}." if declared else "It has none."
            )
            raise value.error("the document has no such variable", repr(name), hint)
    names: dict[str, Located] = {}
    variables = Variables(names)
    for name, value in declared.items():
        assert node is not None
        check_identifier(node.key(name))
        if name in values:
            value = values[name]
        elif value.is_empty:  # ``width:`` without a value declares a required variable
            raise node.key(name).error(f"this variable requires a value: use -D {name}=VALUE")
        names[name] = variables.resolve(value)
    return variables


def _inputs(header: Header, document: Located, shapes: Mapping[str | None, Located]) -> tuple[Input, ...]:
    """Return the model's inputs, some with their shape replaced by ``shapes``."""
    declared: dict[str, tuple[Sizes | None, str]] = {}
    if header.inputs is not None:
        for name, node in mapping_of(header.inputs).items():
            key = header.inputs.key(name)
            check_name(key)
            if normalized(name) in map(normalized, declared):
                raise key.error("duplicate input name", repr(name))
            declared[name] = InputType().read(node, f"input {name!r}")
        if not declared:
            raise header.inputs.error("inputs must contain at least one input")
    else:
        declared["input"] = header.input or (None, "float32")
    for option, node in shapes.items():
        # --input-shape SHAPE is for the only input; several inputs need NAME=SHAPE
        target = next(iter(declared)) if option is None and len(declared) == 1 else option
        if target is None or target not in declared:
            hint = f"Its inputs are {', '.join(declared)}."
            raise node.error("the model has no such input", "no name" if option is None else repr(option), hint)
        declared[target] = InputType().read(node, "shape")[0], declared[target][1]
    return tuple(Input(name, shape, dtype) for name, (shape, dtype) in declared.items())


class _Matcher:
    """A finder of the parameters that names and patterns in a document match, with a limit on its work."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.remaining = MAX_COMPARISONS

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return self.model.parameters

    @cached_property
    def unbuilt(self) -> int:
        """The number of layers that may have more parameters, because the shape of their input is unknown."""
        return self.model.unbuilt

    @cached_property
    def pattern_cost(self) -> int:
        return sum(1 + len(path) // 32 for path in self.parameters) + 100

    def find(self, node: Located) -> list[str]:
        """Return the paths that a name or pattern matches. Raises DocumentError if it matches nothing."""
        text = str(node.value)
        try:
            matches = compile_pattern(text)
        except AddressError as error:
            raise node.error(error.rule, error.received) from None
        if is_pattern(text):
            # each pattern is tested against each parameter, and a document may have 100,000 of both
            self.remaining -= self.pattern_cost
            if self.remaining < 0:
                raise node.error(f"the number of patterns times parameters may be at most {MAX_COMPARISONS:,}")
            paths = [path for path in self.parameters if matches(path)]
        else:
            paths = [text] if text in self.parameters else []
        if not paths and not self.unbuilt:
            rule = "no parameter matches this pattern" if is_pattern(text) else "no parameter has this name"
            raise node.error(rule, hint=nearest_hint(text, self.parameters))
        return paths


def _ties(header: Header, matcher: _Matcher) -> tuple[Tie, ...]:
    """Return the ties that the document declares. Raises DocumentError for a contradiction."""
    ties: dict[str, Tie] = {}
    kept_nodes: dict[str, Located] = {}
    for item in header.ties or []:
        declaration = TieDeclaration.read("a tie", item, mapping_of(item))
        keep = declaration.keep[0]
        if len(declaration.keep) != 1 or is_pattern(str(keep.value)):
            raise keep.error("a tie must keep one parameter, given by name")
        kept = str(keep.value)
        if not matcher.find(keep):  # not built yet: the shape of an input is unknown
            continue
        for node in declaration.tie:
            matched = matcher.find(node)
            paths = [path for path in matched if path != kept]
            if matched and not paths:
                raise node.error("a parameter cannot be tied to itself")
            for path in paths:
                tie = Tie(kept, path, declaration.transpose)
                _check_tie(tie, node, matcher.parameters)
                if path in ties:
                    raise node.error(f"{path} is already tied to {ties[path].kept}")
                ties[path] = tie
        kept_nodes[kept] = keep
    # Checked last: a chain may be declared in any order.
    for kept, node in kept_nodes.items():
        if kept in ties:
            owner = ties[kept].kept
            raise node.error(f"{kept} is itself tied to {owner}", hint=f"Keep {owner} instead.")
    return tuple(ties.values())


def _check_tie(tie: Tie, node: Located, parameters: Mapping[str, Parameter]) -> None:
    """Raise DocumentError unless the shapes of a tie match."""
    kept, tied = parameters[tie.kept], parameters[tie.tied]
    expected = kept.shape[::-1] if tie.transpose else kept.shape
    if tied.shape != expected:
        rule = f"tied parameters must have {'reversed' if tie.transpose else 'equal'} shapes"
        hint = ""
        if not tie.transpose and tied.shape == kept.shape[::-1]:
            hint = "Add 'transpose: true' to tie one to the transpose of the other."
        received = f"{tie.kept} {shape_text(kept.shape)} and {tie.tied} {shape_text(tied.shape)}"
        raise node.error(rule, received, hint)


def _initializers(header: Header, model: Model, matcher: _Matcher) -> tuple[tuple[str, Located], ...]:
    """Return the (pattern, scheme) pairs of the document. Raises DocumentError for a pattern that has no effect."""
    rules = []
    for text, scheme in mapping_of(header.initializers).items():
        assert header.initializers is not None
        key = header.initializers.key(text)
        paths = matcher.find(key)
        if paths and not any(path not in model.tied and model.parameters[path].trainable for path in paths):
            raise key.error("an initializer must match a trainable parameter that is not tied to another")
        rules.append((text, SchemeType().read(scheme, f"the initializer of {text!r}")))
    return tuple(rules)

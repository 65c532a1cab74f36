"""A model document to a model: its header read, its layers expanded, its ties and patterns checked."""

from collections.abc import Mapping
from dataclasses import replace

from paramctl.address.patterns import compile_pattern, is_pattern, nearest_hint
from paramctl.core.parameter import Parameter
from paramctl.declare.located import Located
from paramctl.declare.option_types import SchemeType
from paramctl.errors import AddressError, suggest
from paramctl.model.context import Context
from paramctl.model.entry import literal_names
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
) -> Model:
    """The model of a document.

    name: what it is called if the document does not say. variables: values for the document's
    ``vars``, by name. input_shapes: shapes for its inputs, by name, or under None for the only one.
    Raises DocumentError, with line and column, for whatever in the document is wrong.
    """
    env = _variables(document, variables or {})
    header = read_header(document, env)
    inputs = _inputs(header, document, input_shapes or {})
    if header.inputs is not None and header.input is not None:
        raise document.key("inputs").error("a document has 'input' or 'inputs', not both")
    outer = Scope(None)
    for place, given in enumerate(inputs):
        outer.put(given.name, Output(given.name, given.shape, number=-1 - place))
    scope = Scope(outer, literal_names(header.layers))
    expansion = Expansion(read_templates(header.blocks), env, header.dtype)
    first = next(iter(outer.outputs.values())) if len(inputs) == 1 else None
    blocks, last = expansion.expand(header.layers, Context("", scope, env, True, 1), first)
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
    )
    matcher = _Matcher(model)
    ties = _ties(header, matcher)
    model = replace(model, ties=ties)
    return replace(model, initializers=_initializers(header, model, matcher))


def _variables(document: Located, given: Mapping[str, Located]) -> Variables:
    """The document's variables, each computed from those before it, with what was given in their place."""
    assert isinstance(document.value, dict)
    node = document.value.get("vars")
    declared = mapping_of(MappingType().read(node, "vars")) if node is not None else {}
    for name, value in given.items():
        if name not in declared:
            hint = suggest(name, declared) or (f"It has {', '.join(declared)}." if declared else "It has none.")
            raise value.error("the document has no such variable", repr(name), hint)
    names: dict[str, Located] = {}
    env = Variables(names)
    for name, value in declared.items():
        assert node is not None
        check_identifier(node.key(name))
        if name in given:
            value = given[name]
        elif value.value is None:
            raise node.key(name).error(f"this variable has no value; give one with -D {name}=VALUE")
        names[name] = env.resolve(value)
    return env


def _inputs(header: Header, document: Located, given: Mapping[str | None, Located]) -> tuple[Input, ...]:
    """The model's inputs, with the shapes given from outside in the place of the document's."""
    named: dict[str, tuple[Sizes | None, str]] = {}
    if header.inputs is not None:
        for name, node in mapping_of(header.inputs).items():
            key = header.inputs.key(name)
            check_name(key)
            if normalized(name) in map(normalized, named):
                raise key.error("two inputs have one name", repr(name))
            named[name] = InputType().read(node, f"input {name!r}")
        if not named:
            raise header.inputs.error("inputs must name at least one input")
    else:
        named["input"] = header.input or (None, "float32")
    for asked, node in given.items():
        wanted = next(iter(named)) if asked is None and len(named) == 1 else asked
        if wanted is None or wanted not in named:
            hint = f"Its inputs are {', '.join(named)}."
            raise node.error("the model has no such input", "no name" if asked is None else repr(asked), hint)
        named[wanted] = InputType().read(node, "the shape")[0], named[wanted][1]
    return tuple(Input(name, shape, dtype) for name, (shape, dtype) in named.items())


class _Matcher:
    """Finds the parameters that a name or a pattern in a document means, and bounds the work of it."""

    def __init__(self, model: Model) -> None:
        self.parameters = model.parameters
        self.unbuilt = model.unbuilt  # if so, what is not found may yet come, with the input's shape
        self.weight = sum(1 + len(path) // 32 for path in self.parameters) + 100
        self.left = MAX_COMPARISONS

    def find(self, node: Located) -> list[str]:
        """The paths that it matches; an error if there are none."""
        text = str(node.value)
        try:
            matches = compile_pattern(text)
        except AddressError as error:
            raise node.error(error.rule, error.received) from None
        if is_pattern(text):
            self.left -= self.weight
            if self.left < 0:
                raise node.error(f"patterns times parameters may come to at most {MAX_COMPARISONS:,}")
            found = [path for path in self.parameters if matches(path)]
        else:
            found = [text] if text in self.parameters else []
        if not found and not self.unbuilt:
            rule = "no parameter has a name like this" if is_pattern(text) else "no parameter has this name"
            raise node.error(rule, hint=nearest_hint(text, self.parameters))
        return found


def _ties(header: Header, matcher: _Matcher) -> tuple[Tie, ...]:
    ties: dict[str, Tie] = {}
    kept_by: dict[str, Located] = {}
    for item in header.ties or []:
        of = TieDeclaration.read("a tie", item, mapping_of(item))
        if len(of.keep) != 1 or is_pattern(str(of.keep[0].value)):
            raise of.keep[0].error("a tie keeps one parameter, by its name")
        kept = str(of.keep[0].value)
        if not matcher.find(of.keep[0]):
            continue
        for node in of.tie:
            found = matcher.find(node)
            paths = [path for path in found if path != kept]
            if found and not paths:
                raise node.error("a parameter cannot be tied to itself")
            for path in paths:
                tie = Tie(kept, path, of.transpose)
                _check_tie(tie, node, matcher.parameters)
                if path in ties:
                    raise node.error(f"{path} is tied already, to {ties[path].kept}")
                ties[path] = tie
        kept_by[kept] = of.keep[0]
    for kept, node in kept_by.items():
        if kept in ties:
            raise node.error(f"{kept} is itself tied, to {ties[kept].kept}: keep that one instead")
    return tuple(ties.values())


def _check_tie(tie: Tie, node: Located, parameters: Mapping[str, Parameter]) -> None:
    kept, tied = parameters[tie.kept], parameters[tie.tied]
    wanted = kept.shape[::-1] if tie.transpose else kept.shape
    if tied.shape != wanted:
        rule = "tied parameters must have one shape" + (", one the reverse of the other" if tie.transpose else "")
        hint = ""
        if not tie.transpose and tied.shape == kept.shape[::-1]:
            hint = "Write 'transpose: true' to tie one to the other's transpose."
        received = f"{tie.kept} {shape_text(kept.shape)} and {tie.tied} {shape_text(tied.shape)}"
        raise node.error(rule, received, hint)


def _initializers(header: Header, model: Model, matcher: _Matcher) -> tuple[tuple[str, Located], ...]:
    rules = []
    for text, scheme in mapping_of(header.initializers).items():
        assert header.initializers is not None
        key = header.initializers.key(text)
        found = matcher.find(key)
        if found and not any(path not in model.tied and model.parameters[path].trainable for path in found):
            raise key.error("an initializer holds for what is trained and not tied to another, and this is not")
        rules.append((text, SchemeType().read(scheme, f"the initializer of {text!r}")))
    return tuple(rules)

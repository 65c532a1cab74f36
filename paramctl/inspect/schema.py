"""The JSON schema (draft 7) of model documents, generated from the registries of layers, functions and schemes.

Editors use it to complete and check a document while it is written. It accepts more than the language does where a
schema cannot tell: names, shapes and custom blocks.
"""

from __future__ import annotations

from typing import Any

from paramctl.core.parameter import FLOAT_DTYPES
from paramctl.declare.option_types import NATURAL, ChoiceType, FlagType, NamesType
from paramctl.declare.options import Option
from paramctl.init.registry import SCHEMES
from paramctl.inspect.layers import first_paragraph
from paramctl.model.header import Header, InputDeclaration, TieDeclaration
from paramctl.model.layers import FUNCTIONS, LAYERS
from paramctl.model.layers.activations import ActivationType
from paramctl.model.template import BlockDeclaration

Schema = dict[str, Any]

EXPRESSION: Schema = {"$ref": "#/definitions/expression"}
COMMON: Schema = {
    "name": {"type": "string", "description": "The layer's name, unique in its list."},
    "from": NamesType().schema()
    | {"description": "Earlier outputs to use as inputs, instead of the previous layer's."},
    "repeat": {"anyOf": [NATURAL.schema(), EXPRESSION], "description": "The number of copies."},
    "when": {"anyOf": [FlagType().schema(), EXPRESSION], "description": "false omits the layer."},
    "trainable": {"anyOf": [FlagType().schema(), EXPRESSION], "description": "false freezes its parameters."},
    "dtype": {"anyOf": [ChoiceType(*FLOAT_DTYPES).schema(), EXPRESSION], "description": "Of its parameters."},
}


def schema() -> Schema:
    """Return the schema of a document."""
    layers = {name: _entry(cls.signature, first_paragraph(cls), COMMON) for name, cls in LAYERS.items()}
    functions = {name: _entry(cls.signature, first_paragraph(cls)) for name, cls in FUNCTIONS.items()}
    as_layers = {name: _entry(cls.signature, first_paragraph(cls), COMMON) for name, cls in FUNCTIONS.items()}
    schemes = {name: _entry(scheme.options, first_paragraph(scheme.function)) for name, scheme in SCHEMES.items()}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "paramctl model document",
        **_object(Header.signature),
        "definitions": {
            "expression": {"type": "string", "pattern": r"\$\{"},
            "layers": {"type": "array", "items": {"$ref": "#/definitions/layer"}},
            "layer": _call(as_layers | layers, closed=False),
            "inner_layer": _call(layers),
            "activation": _call(functions),
            "initializer": _call(schemes),
        },
    } | _parts()


def _parts() -> Schema:
    """Return the schema of the keys of a document whose items have their own form."""
    properties = _object(Header.signature)["properties"]
    shape, *_ = InputDeclaration.signature.values()
    declaration = {"anyOf": [_value(shape), _object(InputDeclaration.signature)]}
    blocks = {"anyOf": [{"$ref": "#/definitions/layers"}, _object(BlockDeclaration.signature)]}
    items = {
        "input": declaration,
        "inputs": {"type": "object", "additionalProperties": declaration},
        "vars": {"type": "object"},
        "blocks": {"type": "object", "additionalProperties": blocks},
        "ties": {"type": "array", "items": _object(TieDeclaration.signature)},
        "initializers": {"type": "object", "additionalProperties": {"$ref": "#/definitions/initializer"}},
    }
    forms = {name: {"anyOf": [form, {"type": "null"}]} for name, form in items.items()}
    return {"properties": properties | forms}


def _call(entries: dict[str, Schema], closed: bool = True) -> Schema:
    """Return the schema of a name, or of a name with options. If not closed, other names are custom blocks."""
    names: Schema = {"type": "string"} if not closed else {"anyOf": [{"enum": list(entries)}, EXPRESSION]}
    options = {"type": "object", "properties": entries, "minProperties": 1, "maxProperties": 1}
    return {"anyOf": [names, options | {"additionalProperties": not closed}]}


def _entry(signature: dict[str, Option], description: str, common: Schema | None = None) -> Schema:
    """Return the schema of the arguments of a call: options by name, in order, the main one alone, or nothing."""
    forms: list[Schema] = [_object(signature) if common is None else _object(signature, common)]
    required = [option for option in signature.values() if option.required]
    main = next(iter(signature.values()), None)
    if main is not None and not main.instead and len(required) < 2:
        forms.append(_value(main))
    if required and required[0].type.takes_mapping and common is not None:
        known = FUNCTIONS if isinstance(required[0].type, ActivationType) else LAYERS
        # With a key such as ``name``, the mapping is a layer with common keys; without, it is the main option alone.
        either = [{"required": [name]} for name in common]
        names = common | {name: {} for name in known}
        forms.append({"type": "object", "properties": names, "additionalProperties": False, "anyOf": either})
    # a list gives the options in order, unless it is itself the value of the main option
    if main is not None and not main.type.takes_list:
        items = [_value(option) for option in signature.values()]
        least = 2 if main.instead else len(required)
        forms.append({"type": "array", "items": items, "additionalItems": False, "minItems": least})
    if not required:
        forms.append({"type": "null"})
    return {"description": description, "anyOf": forms}


def _object(signature: dict[str, Option], common: Schema | None = None) -> Schema:
    required = [option.name for option in signature.values() if option.required]
    properties = {option.name: _value(option) for option in signature.values()}
    return {"type": "object", "properties": properties | (common or {}), "additionalProperties": False} | (
        {"required": required} if required else {}
    )


def _value(option: Option) -> Schema:
    forms = [_with_expressions(option.type.schema()), EXPRESSION]
    if option.nullable:
        forms.append({"type": "null"})
    return {"description": f"{option.type.rule[:1].upper()}{option.type.rule[1:]}.", "anyOf": forms}


def _with_expressions(form: Any) -> Any:
    """Return an option type's schema in which each item of a list may be an expression, as in ``[${width}, 3]``."""
    if isinstance(form, list):
        return [_with_expressions(item) for item in form]
    if not isinstance(form, dict):
        return form
    inner = {key: _with_expressions(value) for key, value in form.items()}
    return inner | {"items": {"anyOf": [inner["items"], EXPRESSION]}} if isinstance(inner.get("items"), dict) else inner

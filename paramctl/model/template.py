"""Blocks of one's own: templates of layers, with options, as a document defines and uses them."""

from collections.abc import Mapping
from typing import Annotated, NamedTuple

from paramctl.declare.located import Located
from paramctl.declare.options import Configurable, missing_option, unknown_option
from paramctl.model.entry import COMMON_OPTIONS, Entry
from paramctl.model.expressions import Variables
from paramctl.model.header import MappingType, mapping_of
from paramctl.model.layers import FUNCTIONS, LAYERS
from paramctl.model.layers.branching import Entries
from paramctl.model.names import check_identifier, check_name


class BlockDeclaration(Configurable):
    """What a document says of a block."""

    layers: Entries
    options: Annotated[Located, MappingType(deferred=True)] | None = None


class Template(NamedTuple):
    """A block of one's own: its options with their defaults (null is required), and its layers."""

    options: Mapping[str, Located]
    layers: Located

    def variables(self, entry: Entry, env: Variables, body: Variables) -> Variables:
        """The variables of its layers: to those of the document, its options, given or default.

        env: the variables where it is used, which what is given there may hold.
        """
        what, arguments = str(entry.type.value), entry.arguments
        given: dict[str, Located] = {}
        if arguments is not None and isinstance(arguments.value, dict):
            given = arguments.value
        elif arguments is not None:
            if not self.options:
                raise arguments.error(f"{what} takes no options")
            given = {next(iter(self.options)): arguments}
        for name in given:
            if name not in self.options:
                raise unknown_option(what, entry.at.key(name), name, self.options)
        names: dict[str, Located] = {}
        inner = Variables(names, body)
        for name, default in self.options.items():
            if name in given:
                names[name] = env.resolve(given[name])
            elif default.value is None:
                raise missing_option(what, entry.at, name, given)
            else:
                names[name] = inner.resolve(default)
        return inner


def read_templates(blocks: Located | None) -> dict[str, Template]:
    """The document's own blocks."""
    templates: dict[str, Template] = {}
    for name, node in mapping_of(blocks).items():
        assert blocks is not None
        key = blocks.key(name)
        check_name(key)
        if name in LAYERS or name in FUNCTIONS:
            raise key.error("a block may not be called as a layer or an activation function is")
        templates[name] = _template(name, node)
    return templates


def _template(name: str, node: Located) -> Template:
    of = BlockDeclaration.read_call(f"block {name!r}", node, node)
    options = mapping_of(of.options)
    for option in options:
        assert of.options is not None
        key = of.options.key(option)
        check_identifier(key)
        if option in COMMON_OPTIONS:
            raise key.error(f"every entry takes {', '.join(COMMON_OPTIONS)}: a block's option may not be called so")
    return Template(options, of.layers)

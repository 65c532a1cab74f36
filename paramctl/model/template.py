"""Templates: the custom blocks that a document defines, with options and layers."""

from collections.abc import Callable, Mapping
from typing import Annotated, NamedTuple

from paramctl.declare.located import Located
from paramctl.declare.options import Configurable, missing_option, unknown_option
from paramctl.model.entry import COMMON_OPTIONS, Entry
from paramctl.model.expressions import EntryVariables, Variables
from paramctl.model.header import MappingType, mapping_of
from paramctl.model.layers import FUNCTIONS, LAYERS
from paramctl.model.layers.branching import Entries
from paramctl.model.names import check_identifier, check_name


class BlockDeclaration(Configurable):
    """The declaration of a custom block."""

    layers: Entries
    options: Annotated[Located, MappingType(deferred=True)] | None = None


class Template(NamedTuple):
    """A custom block: its options with their defaults, and its layers. An option without a default is required."""

    options: Mapping[str, Located]
    layers: Located

    def bind(self, entry: Entry, caller: Variables, document: Variables, find: Callable[[], Located]) -> Variables:
        """Return the variables that the layers of this block see when an entry uses it.

        caller: the variables where the block is used, for resolving the arguments.
        document: the document's variables, which the layers and the defaults see. A default also sees earlier options.
        find: returns the shape of the block's input, which the defaults see too.
        """
        block_name = str(entry.type.value)
        arguments = self._arguments(entry, block_name)
        names: dict[str, Located] = {}
        bound = Variables(names, document)  # ``names`` grows below, so a default sees the options before it
        defaults = EntryVariables(bound, find)
        for name, default in self.options.items():
            if name in arguments:
                names[name] = caller.resolve(arguments[name])
            elif default.is_empty:
                raise missing_option(block_name, entry.at, name, arguments)
            else:
                names[name] = defaults.resolve(default)
        return bound

    def _arguments(self, entry: Entry, block_name: str) -> Mapping[str, Located]:
        """Return the arguments of an entry by option name. Raises DocumentError for an unknown option."""
        node = entry.arguments
        if node is None:
            return {}
        if not isinstance(node.value, dict):  # the value of the first option
            if not self.options:
                raise node.error(f"{block_name} takes no options")
            return {next(iter(self.options)): node}
        for name in node.value:
            if name not in self.options:
                raise unknown_option(block_name, entry.at.key(name), name, self.options)
        return node.value


def read_templates(blocks: Located | None) -> dict[str, Template]:
    """Return the custom blocks of a document by name."""
    templates: dict[str, Template] = {}
    for name, node in mapping_of(blocks).items():
        assert blocks is not None
        key = blocks.key(name)
        check_name(key)
        if name in LAYERS or name in FUNCTIONS:
            raise key.error("a block may not have the name of a layer or an activation function")
        templates[name] = _template(name, node)
    return templates


def _template(name: str, node: Located) -> Template:
    declaration = BlockDeclaration.read_call(f"block {name!r}", node, node)
    options = mapping_of(declaration.options)
    for option in options:
        assert declaration.options is not None
        key = declaration.options.key(option)
        check_identifier(key)
        if option in COMMON_OPTIONS:
            raise key.error(f"a block may not redefine the options of every entry: {', '.join(COMMON_OPTIONS)}")
    return Template(options, declaration.layers)

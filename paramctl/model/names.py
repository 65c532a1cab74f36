"""What may be a name: of a layer, an input, a block or a variable."""

from keyword import iskeyword

from paramctl.node import Node

FORBIDDEN = "/*?[]=:,.'\""


def check_name(node: Node) -> str:
    """The name in a node, or the error that says what a name may be."""
    name = node.value
    if not isinstance(name, str) or not name:
        raise node.error("a name must be text, not empty")
    if name.isdecimal():
        raise node.error("a name may not be all digits")
    if any(character in FORBIDDEN for character in name):
        raise node.error(f"a name may not hold any of {' '.join(FORBIDDEN)}")
    if name != name.strip() or not name.isprintable():
        raise node.error("a name may not hold control characters, nor begin or end with a space")
    return name


def check_identifier(key: Node) -> None:
    """Raise unless a key can name a variable: ``${...}`` must be able to say it."""
    name = str(key.value)
    if not name.isidentifier() or iskeyword(name):
        raise key.error(
            "a variable's name must be letters, digits and _, not begin with a digit, and be no word of ${...}"
        )

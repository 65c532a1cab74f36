"""Rules for the names of layers, inputs, blocks, and variables."""

import unicodedata
from keyword import iskeyword

from paramctl.declare.located import Located
from paramctl.model.expressions import CONSTANTS, FUNCTIONS

FORBIDDEN = "/*?[]=:,.'\""
MAX_NAME = 255
"""The limit of most file systems."""


def check_name(node: Located) -> str:
    """Return the name in a node. Raises DocumentError if it is not a valid name."""
    name = node.value
    if not isinstance(name, str) or not name:
        raise node.error("a name must be non-empty text")
    if name.isdecimal():
        raise node.error("a name may not consist of digits only")
    if len(name) > MAX_NAME:
        raise node.error(f"a name may have at most {MAX_NAME} characters", f"{len(name):,}")
    if "${" in name:  # such as the name of a block, which is not resolved
        raise node.error("this name may not contain ${...}")
    if any(character in FORBIDDEN for character in name):
        raise node.error(f"a name may not contain any of {' '.join(FORBIDDEN)}")
    if name != name.strip() or not name.isprintable():
        raise node.error("a name may not contain control characters, or begin or end with a space")
    return name


def normalized(name: str) -> str:
    """Return a name in normal form. Names with equal normal forms are the same name."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def check_identifier(key: Located) -> None:
    """Raise DocumentError unless a key can be used as a variable in ``${...}``."""
    name = str(key.value)
    # Python normalizes identifiers to NFKC, so another form could not be found again.
    if not name.isidentifier() or name != unicodedata.normalize("NFKC", name):
        raise key.error("a variable name must consist of letters, digits, and _, and may not begin with a digit")
    if iskeyword(name) or name in CONSTANTS or name in FUNCTIONS:
        raise key.error("a variable may not have the name of a keyword, constant, or function of ${...}")

"""What may be a name: of a layer, an input, a block or a variable."""

import unicodedata
from keyword import iskeyword

from paramctl.declare.located import Located
from paramctl.model.expressions import CONSTANTS, FUNCTIONS

FORBIDDEN = "/*?[]=:,.'\""
MAX_NAME = 255
"""As in most file systems."""


def check_name(node: Located) -> str:
    """The name in a node, or the error that says what a name may be."""
    name = node.value
    if not isinstance(name, str) or not name:
        raise node.error("a name must be text, not empty")
    if name.isdecimal():
        raise node.error("a name may not be all digits")
    if len(name) > MAX_NAME:
        raise node.error(f"a name may have at most {MAX_NAME} characters", f"{len(name):,}")
    if "${" in name:
        raise node.error("this name is taken as it stands: it may hold no ${...}")
    if any(character in FORBIDDEN for character in name):
        raise node.error(f"a name may not hold any of {' '.join(FORBIDDEN)}")
    if name != name.strip() or not name.isprintable():
        raise node.error("a name may not hold control characters, nor begin or end with a space")
    return name


def normalized(name: str) -> str:
    """A name as it is compared: two that Unicode normalizes to one are one."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def check_identifier(key: Located) -> None:
    """Raise unless a key can name a variable: ``${...}`` must be able to say it."""
    name = str(key.value)
    if not name.isidentifier() or name != unicodedata.normalize("NFKC", name):
        raise key.error("a variable's name must be of letters, digits and _, and not begin with a digit")
    if iskeyword(name) or name in CONSTANTS or name in FUNCTIONS:
        raise key.error("a variable may not be called as a word of ${...} is")

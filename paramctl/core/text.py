"""Text that a file may have chosen, made safe to print."""


def printable(text: str) -> str:
    """Return a text with every unprintable character as an escape: ``\\x1b``, ``\\u202e``."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )

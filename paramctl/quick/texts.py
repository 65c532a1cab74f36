"""The texts beside this module, and the answer to --help."""

from os.path import dirname, join

HELP_NAMES = ("-h", "--help")


def read_text(name: str) -> str:
    """Return a text of this folder, empty if it is missing: then click answers."""
    try:
        with open(join(dirname(__file__), name), encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def help_text(screen: tuple[int, int] | None) -> str:
    """Return what --help prints, or an empty text if it depends on the screen: on its width, or by a pager.

    screen: the columns and lines of the terminal, None for a pipe.
    """
    text = read_text("help.txt")
    if screen is not None:
        columns, lines = screen
        if columns < 80 or lines <= text.count("\n") + 1:
            return ""
    return text

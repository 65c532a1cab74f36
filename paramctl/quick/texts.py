"""The texts beside this module, and the answer to --help."""

from os import listdir
from os.path import dirname, join

HELP_NAMES = ("-h", "--help")
ELSEWHERE = ("inspect/optimizers.py", "inspect/sorts.py")
"""The files outside paramctl/cli whose names are choices of options."""


def read_text(name: str) -> str:
    """Return a text of this folder, empty if it is missing or not of the present commands: then click answers."""
    try:
        with open(join(dirname(__file__), name), encoding="utf-8") as file:
            mark, _, text = file.read().partition("\n")
        return text if mark == sources_mark() else ""
    except (OSError, ValueError):
        return ""


def sources_mark() -> str:
    """Return the checksum of the files that declare the commands. Each text begins with it: see man/generate.py."""
    from zlib import crc32

    package = dirname(dirname(__file__))
    checksum = 0
    for name in (*sorted(f"cli/{name}" for name in listdir(join(package, "cli")) if name.endswith(".py")), *ELSEWHERE):
        with open(join(package, name), "rb", buffering=0) as file:
            checksum = crc32(file.read(), crc32(name.encode(), checksum))
    return f"{checksum:08x}"


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

"""The entry point of ``paramctl`` and ``python -m paramctl``.

It answers --version, --help and most completions without importing click, which takes longer than all of them.
"""

import sys

from paramctl import __version__


def main() -> None:
    """Print a quick answer, or run the command line if it has none."""
    if not _print(_quick_answer(sys.argv[1:])):
        import gc

        gc.disable()  # before the imports, which leave little to collect; see cli.main
        from paramctl.cli.main import main as run

        run()


def _quick_answer(arguments: list[str]) -> str | None:
    """Return the whole output of a command line that needs no click, None for any other."""
    from os import environ

    if "_PARAMCTL_COMPLETE" in environ:
        from paramctl.quick.completion import answer

        try:
            return answer(environ)
        except (KeyError, ValueError, IndexError):  # variables that no shell sets; click reports them
            return None
    if arguments in (["--version"], ["-V"]):
        return f"paramctl {__version__}\n"
    if arguments in (["--help"], ["-h"]) and not {"COLUMNS", "LINES"} & environ.keys():
        from paramctl.quick.texts import help_text

        return help_text(_screen())
    return None


def _screen() -> tuple[int, int] | None:
    """Return the columns and lines of the terminal that standard output is, None for a pipe or a file."""
    from os import get_terminal_size

    try:
        return get_terminal_size(1) if sys.stdout is not None and sys.stdout.isatty() else None
    except OSError:
        return 0, 0


def _print(text: str | None) -> bool:
    """Return whether a text is printed. If not, the command line handles it: it reports closed or full outputs."""
    if not text or sys.stdout is None:
        return False
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except (OSError, ValueError):  # ValueError: its encoding lacks a character
        return False
    return True


if __name__ == "__main__":
    main()

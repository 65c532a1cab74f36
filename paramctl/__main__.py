"""The entry point of ``paramctl`` and ``python -m paramctl``. It answers --version alone without importing click."""

import sys

from paramctl import __version__


def main() -> None:
    """Print the version if --version is the only argument, or run the command line."""
    if sys.argv[1:] not in (["--version"], ["-V"]) or not _print_version():
        from paramctl.cli.main import main as run

        run()


def _print_version() -> bool:
    """Return whether the version is printed. If not, the command line handles it: it reports closed or full outputs."""
    from os import environ

    if "_PARAMCTL_COMPLETE" in environ or sys.stdout is None:
        return False
    try:
        sys.stdout.write(f"paramctl {__version__}\n")
        sys.stdout.flush()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()

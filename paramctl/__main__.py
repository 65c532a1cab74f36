"""``python -m paramctl`` is ``paramctl``."""

from paramctl.cli.main import main

if __name__ == "__main__":
    main()

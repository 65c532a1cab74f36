"""Print constraints for pip, from the lower bounds in pyproject.toml: the oldest versions that paramctl supports.

    python .ci/constraints.py > constraints.txt

``>=2.0`` becomes ``==2.0.*``, and ``>=1`` becomes ``==1.*``. A requirement without a lower bound is left out.
"""

import re
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"


def oldest(requirement: str) -> str | None:
    """Return the constraint for one requirement, or None if it has no lower bound."""
    match = re.match(r"([A-Za-z0-9_.-]+)[^;]*?>=([0-9.]+)", requirement)
    return f"{match[1]}=={match[2]}.*" if match else None


if __name__ == "__main__":
    constraints = map(oldest, tomllib.loads(PYPROJECT.read_text())["project"]["dependencies"])
    print("\n".join(filter(None, constraints)))  # noqa: T201

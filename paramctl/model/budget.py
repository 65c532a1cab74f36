"""A budget for the expansion of a document, so that repeats and nested blocks cannot exhaust time or memory."""

from paramctl.declare.located import Located
from paramctl.errors import DocumentError

MAX_EXPANDED = 1_000_000
"""The total cost of a document. An entry costs the number of its options after repeats are unrolled, plus LAYER_COST
or BLOCK_COST for the objects it creates. Long names and expressions cost more."""
LAYER_COST = 8
BLOCK_COST = 40
MAX_INPUTS = 1_000
MAX_PATH = 4_096


class Budget:
    """The cost of expanding one document so far."""

    def __init__(self) -> None:
        self.spent = 0

    def charge(self, node: Located, cost: int) -> None:
        """Add the cost of a node. Raises DocumentError at that node if the total exceeds MAX_EXPANDED."""
        self.spent += cost
        if self.spent > MAX_EXPANDED:
            raise too_large(node)


def too_large(node: Located) -> DocumentError:
    """Return the error for a document that expands too far."""
    return node.error(f"a model may expand to at most {MAX_EXPANDED:,} entries and options, repeats unrolled")


def resolve_cost(node: Located) -> int:
    """Return the cost of resolving the expressions in a node, which grows with their length."""
    if not node.dynamic:
        return 0
    if isinstance(node.value, (list, dict)):
        return sum(map(resolve_cost, node.value.values() if isinstance(node.value, dict) else node.value))
    length = len(str(node.value))
    return max(length // 8, length - 24)  # short expressions are cheap; beyond 24 characters each one counts

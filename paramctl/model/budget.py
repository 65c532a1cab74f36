"""What a model may expand to: the account that keeps time and memory within bounds, whatever multiplies."""

from paramctl.declare.located import Located
from paramctl.errors import DocumentError

MAX_EXPANDED = 1_000_000
"""Entries and options, repeats unrolled. Each layer weighs LAYER more than what is written of it,
and each block BLOCK, for what is kept of them; names and expressions weigh by their length."""
LAYER_COST = 8
BLOCK_COST = 40
MAX_INPUTS = 1_000
MAX_PATH = 4_096


class Budget:
    """Counts what the entries of one document come to."""

    def __init__(self) -> None:
        self.spent = 0

    def spend(self, node: Located, amount: int) -> None:
        """Count so much for a node; DocumentError at it once all is spent."""
        self.spent += amount
        if self.spent > MAX_EXPANDED:
            raise too_large(node)


def too_large(node: Located) -> DocumentError:
    return node.error(f"a model may expand to at most {MAX_EXPANDED:,} entries and options, repeats unrolled")


def resolve_cost(node: Located) -> int:
    """What filling in the variables of a node weighs: by the length of its expressions, long ones in full."""
    if not node.dynamic:
        return 0
    if isinstance(node.value, (list, dict)):
        return sum(map(resolve_cost, node.value.values() if isinstance(node.value, dict) else node.value))
    length = len(str(node.value))
    return max(length // 8, length - 24)

"""The options of attention layers that are more than a flag or a number."""

from typing import Annotated, Any

from paramctl.declare.located import Located
from paramctl.declare.option_types import FlagType
from paramctl.errors import suggest

PROJECTIONS = ("query", "key", "gate", "value", "attention_output")


class BiasesType(FlagType):
    """The projections that have a bias: all, none, or those of a list, in the order of PROJECTIONS."""

    rule = f"true, false, or a list of {', '.join(PROJECTIONS)}"

    def read(self, node: Located, name: str) -> bool | tuple[str, ...]:  # type: ignore[override]
        if not isinstance(node.value, list):
            return super().read(node, name)
        names = [str(item.value) for item in node.value]
        for item in node.value:
            if item.value not in PROJECTIONS:
                raise self.refuse(item, name, suggest(str(item.value), PROJECTIONS))
            if names.count(item.value) > 1:
                raise item.error(f"{name} names a projection twice", repr(item.value))
        # two documents that list the same projections have equal layers
        return tuple(each for each in PROJECTIONS if each in names)

    def schema(self) -> dict[str, Any]:
        names = {"type": "array", "items": {"enum": [*PROJECTIONS]}, "uniqueItems": True}
        return {"anyOf": [super().schema(), names]}


Biases = Annotated[bool | tuple[str, ...], BiasesType()]

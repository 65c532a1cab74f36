"""The order in which a Functional lists its layers, which decides their names in a file.

Follows map_graph and _build_map of Keras 3.15 step by step. A Node of Keras is a Call here, an Operation is an object.
https://github.com/keras-team/keras/blob/master/keras/src/ops/function.py
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from paramctl.store.keras.objects import Call, KerasObject, Network


def functional_layers(network: Network) -> list[KerasObject]:
    """Return the layers of a Functional in Keras' order: the deepest first, and within one depth by first visit.

    The depth of a call is the number of calls on the longest way from it to an output.
    Layers that no output depends on are left out, InputLayers excepted.
    """
    source = {output: call for call in network.calls for output in call.output_ids}
    calls, visits = _build_map(network.output_ids, source)

    # "Set self.operations ordered by depth": each call passes its depth + 1 on to the calls that it takes from.
    call_depths: dict[Call, int] = {}
    depths: dict[KerasObject, int] = {}
    for call in reversed(calls):
        # A shared layer keeps the greatest depth of its calls seen so far, and passes that one on:
        # the second call of a layer at depth 3 counts as depth 3 though it may be at depth 1 itself.
        depth = max(call_depths.get(call, 0), depths.get(call.object, 0))
        depths[call.object] = call_depths[call] = depth
        for taken in call.input_ids:
            call_depths[source[taken]] = max(depth + 1, call_depths.get(source[taken], 0))

    # "Handle inputs that are not connected to outputs": depth 0, before all others of that depth.
    for taken in network.input_ids:
        unused = source[taken].object
        if unused not in depths:
            depths[unused], visits[unused] = 0, -1

    return sorted(depths, key=lambda layer: (-depths[layer], visits[layer]))


def _build_map(outputs: Iterable[int], source: Mapping[int, Call]) -> tuple[list[Call], dict[KerasObject, int]]:
    """Return the calls that the outputs depend on, each after its sources, and the rank of each object's first visit.

    The depth-first search of Keras' _build_map, with a stack instead of recursion: networks are deeper than Python's
    recursion limit. An object is visited before its sources, a call is finished after them.
    """
    visited: set[Call] = set()
    finished: list[Call] = []
    visits: dict[KerasObject, int] = {}
    stack: list[tuple[Call, Iterator[int]]] = []

    def visit(call: Call) -> None:
        if call not in visited:
            visited.add(call)
            visits.setdefault(call.object, len(visits))
            stack.append((call, iter(call.input_ids)))

    for output in outputs:
        visit(source[output])
        while stack:
            call, remaining = stack[-1]
            taken = next(remaining, None)
            if taken is None:
                stack.pop()
                finished.append(call)
            else:
                visit(source[taken])
    return finished, visits

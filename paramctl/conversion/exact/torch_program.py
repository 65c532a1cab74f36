"""The calls of torch.nn.init in a program that makes a model, in order.

The program constructs its modules, in the document's order or in a given one, and then initializes parameters again by
the schemes that were chosen for them. A tensor has the values of the last call that fills it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import NamedTuple

from paramctl.address.resolve import Match, resolve
from paramctl.conversion.exact.order import Constructed, OrderItem, ThrownAway
from paramctl.conversion.exact.torch_init import call_text, law_of
from paramctl.conversion.exact.torch_schemes import init_call
from paramctl.conversion.torch import PlacedTensor, torch_layout, torch_parameters, torch_ties
from paramctl.core.dtypes import numpy_dtype
from paramctl.core.parameter import FLOAT_DTYPES
from paramctl.declare.located import Located
from paramctl.errors import AddressError
from paramctl.init.engines.base import DrawRequest
from paramctl.init.registry import SchemeMismatch, bound_scheme, format_scheme
from paramctl.model import Model
from paramctl.model.layers import Layer
from paramctl.model.layers.torch_draws import InitCall, constant

FIXED = ("zeros", "ones", "constant")
"""The schemes that draw nothing."""

MAX_THROWN_AWAY = 1 << 32
"""Numbers that are thrown away are drawn, too: so many take half a minute."""


class Draw(NamedTuple):
    """The values that a call gives a tensor. name: of the tensor. text: the call without its tensor."""

    name: str
    request: DrawRequest
    text: str


class Program:
    """A program that makes a model in torch.

    chosen: the schemes that initialize parameters after the construction of all modules, by the parameter's path.
    Raises AddressError for a layer or a scheme whose values in torch are unknown.
    """

    def __init__(self, model: Model, chosen: Mapping[str, Located]) -> None:
        self.model, self.chosen, self.layout = model, chosen, torch_layout(model)
        for reason in self.layout.unsupported.values():
            raise AddressError("--exactly torch requires layers of torch.nn", reason)
        self.tensors = torch_parameters(self.layout, model)
        dtypes = {tensor.dtype for tensor in self.tensors.values()} & {*FLOAT_DTYPES}
        self.dtype = dtypes.pop() if len(dtypes) == 1 else "float32"
        """The default dtype in torch while the program runs."""
        # tied parameters are constructed each in its module, and share one tensor from then on
        self.shared = {tie.tied: tie.kept for tie in torch_ties(self.layout.tensors.values(), model)}
        self.layers = {path: each.layer for each in self.layout.tensors.values() for path in each.arrangement.paths}
        self.filled = self._filled()
        self.bare: set[str] = set()
        """The parameters that no constructor of torch.nn initializes."""
        self.modules = self._modules()

    def draws(self, order: Sequence[OrderItem]) -> Iterator[Draw]:
        """Yield all draws. order: of the program. Modules that it does not name are constructed after its items."""
        waiting, position = dict(self.modules), {layer: number for number, layer in enumerate(self.modules)}
        for item in order:
            if isinstance(item, ThrownAway):
                yield _thrown_away(item, self.dtype)
            elif isinstance(item, Constructed):
                layers = {self.layers[path] for path in self._match(item.pattern).paths}
                for layer in sorted(layers & waiting.keys(), key=position.__getitem__):
                    yield from map(self._draw, waiting.pop(layer))
            else:
                yield from self._initialized_again(item.pattern, item.scheme, waiting)
        for calls in waiting.values():
            yield from map(self._draw, calls)
        for call in self._initialized({path: node for path, node in self.chosen.items() if path not in self.bare}):
            yield self._draw(call)

    def _filled(self) -> dict[str, list[tuple[int, str]]]:
        """Return the numbers and names of the tensors that have the values of each parameter, by its path."""
        filled: dict[str, list[tuple[int, str]]] = {}
        for number, (name, tensor) in enumerate(self.layout.tensors.items()):
            for path in (*tensor.arrangement.paths, *filter(None, [tensor.adds_to])):
                filled.setdefault(path, []).append((number, name))
        return filled

    def _modules(self) -> dict[str, list[InitCall]]:
        """Return the calls in the constructor of each layer's module, by the layer's path, in the document's order."""
        tensors: dict[str, dict[str, PlacedTensor]] = {}
        for name, tensor in self.layout.tensors.items():
            tensors.setdefault(tensor.layer, {})[name] = tensor
        layers = {block.path: block.layer for block in self.model.walk() if block.reuse_of is None}
        return {path: [*self._constructor(path, layers[path], own)] for path, own in tensors.items()}

    def _constructor(self, path: str, layer: Layer | None, tensors: Mapping[str, PlacedTensor]) -> Iterator[InitCall]:
        module = path.replace("/", ".")
        shapes = {name.removeprefix(f"{module}."): tensor.arrangement.shape for name, tensor in tensors.items()}
        calls = [call.under(module) for call in layer.torch_draws(shapes)] if layer is not None else []
        yield from calls
        for name in tensors.keys() - {call.tensor for call in calls}:
            self.bare |= {*tensors[name].arrangement.paths}
        for name, tensor in tensors.items():
            for parameter in tensor.arrangement.paths:
                if parameter in self.bare:
                    yield self._bare(name, parameter)

    def _bare(self, name: str, path: str) -> InitCall:
        """Return the call that torch code makes for a parameter without a module, by its own scheme."""
        node = self.chosen.get(path, self.model.parameters[path].initializer)
        if node is None or (path not in self.chosen and bound_scheme(node)[0].name not in FIXED):
            rule = "torch.nn has no module for it, so that the model must say how it is initialized"
            raise AddressError(f"--exactly torch: {rule}", path, "Write its initializer.")
        return _call(node, name)

    def _initialized_again(self, pattern: str, node: Located, waiting: Mapping[str, object]) -> Iterator[Draw]:
        """Yield the draws of parameters that a pattern names, which skips those to which the scheme does not apply."""
        match, scheme = self._match(pattern), format_scheme(node)
        for path in match.paths:
            if self.layers[path] in waiting:
                hint = "Name it before, or '**' for all modules."
                raise AddressError(f"order {pattern}={scheme}: the module is not constructed yet", path, hint)
        applied, last_error, skipped = 0, None, set[str]()
        for call in self._initialized(dict.fromkeys(match.paths, node)):
            tensor = self.layout.tensors[call.tensor]
            if tensor.adds_to in skipped:
                continue
            try:
                draw = self._draw(call._replace(tensor=self.shared.get(call.tensor, call.tensor)))
            except AddressError as error:
                if not match.is_pattern:
                    raise
                last_error = error
                skipped.update(tensor.arrangement.paths)
                continue
            applied += 1
            yield draw
        if not applied and last_error:
            raise last_error

    def _initialized(self, schemes: Mapping[str, Located]) -> Iterator[InitCall]:
        """Yield the calls that initialize the tensors of parameters by their schemes, in the order of the tensors."""
        for _, name in sorted({each for path in schemes for each in self.filled.get(path, ())}):
            tensor = self.layout.tensors[name]
            if tensor.adds_to in schemes:  # the parameter is the sum of two biases
                yield constant(name, 0.0)
            paths = tensor.arrangement.paths
            nodes = [schemes[path] for path in paths if path in schemes]
            if nodes and (len(nodes) < len(paths) or len({*map(format_scheme, nodes)}) > 1):
                rule = f"--exactly torch: {name} is one tensor, so its parts must have the same scheme"
                raise AddressError(rule, ", ".join(paths))
            if nodes:
                yield _call(nodes[0], name)

    def _match(self, pattern: str) -> Match:
        match = resolve(self.model, pattern)
        if match.indices is not None:
            raise AddressError("an order names whole parameters, not slices", repr(pattern))
        return match

    def _draw(self, call: InitCall) -> Draw:
        parameter = self.tensors[call.tensor]
        try:
            law = law_of(call, parameter.shape, parameter.dtype)
        except SchemeMismatch as mismatch:
            raise AddressError(f"--exactly torch: {mismatch}", f"{call.tensor} {parameter.shape}") from None
        return Draw(call.tensor, DrawRequest(law, parameter.shape, numpy_dtype(parameter.dtype)), call_text(call))


def _call(node: Located, name: str) -> InitCall:
    try:
        return init_call(node, name)
    except SchemeMismatch as mismatch:
        raise AddressError(f"--exactly torch: {mismatch}", f"{format_scheme(node)} for {name}") from None


def _thrown_away(item: ThrownAway, dtype: str) -> Draw:
    call = InitCall("", "uniform_" if item.function == "rand" else "normal_")
    name = item.text
    if prod(item.shape) > MAX_THROWN_AWAY:
        raise AddressError(f"an order throws away at most {MAX_THROWN_AWAY:,} numbers at once", name)
    return Draw(name, DrawRequest(law_of(call, item.shape, dtype), item.shape, numpy_dtype(dtype)), call_text(call))

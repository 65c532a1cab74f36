"""Keras' own initial values: the seeds that layers take as a program makes them, on each of Keras' backends.

A program constructs each layer, and calls it before it constructs the next, as Keras' functional code does; a
Sequential gives the same values. Layers that an order names are constructed before all calls, as in ``__init__`` of a
model's class. It matters to attention alone, which makes its projections at its first call.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from paramctl.conversion.exact.keras_initializers import RANDOM, KerasInitializer, keras_initializer, law_of
from paramctl.conversion.exact.order import Constructed, NamedBlocks, OrderItem
from paramctl.conversion.exact.plan import ExactPlan, Promise
from paramctl.core.dtypes import numpy_dtype
from paramctl.core.parameter import FLOAT_DTYPES, Parameter, batch_axis
from paramctl.core.views import Arrangement, view
from paramctl.errors import AddressError
from paramctl.init.distributions import Constant, Delta, Distribution, Orthogonal, Uniform
from paramctl.init.engines.base import DrawRequest
from paramctl.init.engines.keras import ON_JAX, ON_TENSORFLOW, ON_TORCH, Again, KerasEngine, OnlySeed
from paramctl.init.registry import SchemeMismatch
from paramctl.init.rules import AssignedScheme
from paramctl.model import Block, Model
from paramctl.model.layers import Layer
from paramctl.model.layers.keras_seeds import SeedUse, build_seeds, constructor_seeds
from paramctl.model.layers.wrapping import Wrapped

ONLY_SEED = DrawRequest(OnlySeed(), (), numpy_dtype("float32"))
HALF_DTYPES = ("float16", "bfloat16")
"""The dtypes in which Keras cannot draw an orthogonal matrix."""


@dataclass(frozen=True, slots=True)
class Keras:
    """Keras on one backend.

    uniforms, normals: the versions and machines that have the bits of these values.
    dtypes: in which the values are known.
    """

    engine: KerasEngine
    uniforms: str
    normals: str
    dtypes: tuple[str, ...] = ("float16", "bfloat16", "float32")
    preset: str = "keras"

    @property
    def name(self) -> str:
        return self.engine.name

    def plan(self, model: Model, assigned: Mapping[str, AssignedScheme], order: Sequence[OrderItem]) -> ExactPlan:
        """Return the plan of a program that makes each layer with the initializers that are assigned."""
        if model.ties:
            tied = ", ".join(tie.tied for tie in model.ties[:3])
            raise AddressError(f"--exactly {self.name}: tied parameters have no initializer in Keras", tied)
        return _Program(self, model, assigned).plan(order)

    def promise(self, law: Distribution) -> Promise:
        """Return how far values of a law agree with Keras'."""
        if isinstance(law, Orthogonal):
            return Promise(False, "orthogonal values are only close, because they depend on LAPACK")
        if isinstance(law, Constant | Delta):
            return Promise(True, self.uniforms.partition(",")[0])
        return Promise(True, self.uniforms if isinstance(law, Uniform) else self.normals)


@dataclass(slots=True)
class _Program:
    """A program that makes a model, and its draws so far."""

    framework: Keras
    model: Model
    assigned: Mapping[str, AssignedScheme]
    requests: dict[str, DrawRequest] = field(default_factory=dict)
    tensors: dict[str, Parameter] = field(default_factory=dict)
    arrangements: dict[str, Arrangement] = field(default_factory=dict)
    promises: dict[str, Promise] = field(default_factory=dict)

    def plan(self, order: Sequence[OrderItem]) -> ExactPlan:
        """Return the plan of the whole program."""
        waiting = {block.path: block for block in self.model.walk() if block.reuse_of is None}
        called = list(waiting.values())
        blocks = NamedBlocks(called)
        for item in order:
            if not isinstance(item, Constructed):
                rule = "an order names layers only: a Keras program gives schemes to the layers that it constructs"
                raise AddressError(f"--exactly {self.framework.name}: {rule}", item.text)
            for block in blocks.named(item.pattern):
                if waiting.pop(block.path, None):
                    self._construct(block)
        for block in called:
            if block.path in waiting:
                self._construct(block)
            if block.layer is not None:
                self._use(block, build_seeds(block.layer, _paths(block)))
            self._add_constants(block)
        return ExactPlan(self.framework.engine, self.requests, self.tensors, self.arrangements, self.promises)

    def _construct(self, block: Block) -> None:
        """Add the draws of a layer's constructor."""
        layer = block.layer
        if layer is None:
            return
        for part in _with_wrapped(layer):
            if not part.in_keras and block.parameters:
                raise self._refusal(block.path, f"Keras has no layer {part.type}")
            for lacking in part.keras_lacks():
                raise self._refusal(block.path, f"Keras' {part.type} has no {lacking}")
        if block.unbuilt and constructor_seeds(layer, []):
            raise self._refusal(block.path, "the shape of its input is unknown")
        if layer.in_keras:
            self._use(block, constructor_seeds(layer, _paths(block)))

    def _use(self, block: Block, uses: Iterable[SeedUse]) -> None:
        """Add the draws of initializers and generators that a layer makes.

        An initializer with options is an object that the program makes before it calls the layer's constructor, which
        makes those that are given by name.
        """
        for use in sorted(uses, key=lambda use: not self._is_object(block, use)):
            paths = [f"{block.path}/{path}" for path in use.paths]
            if use.initializer is None:
                self._add_seed(block)
            elif use.is_read and paths:
                self._add(self.model.parameters[paths[0]], use)
            elif self._is_random(block, use, paths):
                self._add_seed(block)

    def _is_object(self, block: Block, use: SeedUse) -> bool:
        """Return whether the program makes an initializer before the layer's constructor."""
        if use.initializer is None or use.is_copy:
            return False
        initializers = [self._initializer(f"{block.path}/{path}", use) for path in use.paths]
        return (initializers or [keras_initializer(use.initializer)])[0].is_object

    def _is_random(self, block: Block, use: SeedUse, paths: Sequence[str]) -> bool:
        """Return whether an initializer draws. Raises AddressError if its parameters have different schemes."""
        initializers = [self._initializer(path, use) for path in paths]
        if any(other != initializers[0] for other in initializers):
            raise self._refusal(block.path, "Keras has one initializer for all of " + ", ".join(use.paths))
        if not initializers:
            assert use.initializer is not None
            initializers = [keras_initializer(use.initializer)]
        return initializers[0].is_random

    def _initializer(self, path: str, use: SeedUse | None = None) -> KerasInitializer:
        """Return the initializer that a parameter's layer is constructed with."""
        parameter = self.model.parameters[path]
        node = self.assigned[path].node or parameter.initializer
        assert node is not None, f"{path} has no initializer"
        try:
            return keras_initializer(node, use is not None and use.forget_units > 0)
        except SchemeMismatch as mismatch:
            raise self._refusal(path, str(mismatch)) from None

    def _add_seed(self, block: Block) -> None:
        """Add a seed that is taken for values which are not read."""
        self.requests[f"{block.path}: seed {len(self.requests)}"] = ONLY_SEED

    def _add(self, parameter: Parameter, use: SeedUse) -> None:
        """Add the draw of a parameter."""
        initializer = self._initializer(parameter.path, use)
        if not use.forget_units:
            law = self._add_tensor(initializer, parameter, parameter.path, parameter.shape)
            views = [view(parameter.path, parameter.shape)]
        else:  # Keras calls the initializer for the input gate, and again for the cell and the output gate
            units, path = use.forget_units, parameter.path
            law = self._add_tensor(initializer, parameter, f"{path}/input", (units,))
            self._add_tensor(KerasInitializer("ones", {}), parameter, f"{path}/forget", (units,))
            self._add_tensor(initializer, parameter, f"{path}/rest", (2 * units,), again=f"{path}/input")
            sizes = {"input": units, "forget": units, "rest": 2 * units}
            views = [view(f"{path}/{part}", (size,)) for part, size in sizes.items()]
        self.arrangements[parameter.path] = Arrangement(parameter.shape, tuple(views))
        self.promises[parameter.path] = self.framework.promise(law)

    def _add_tensor(
        self, initializer: KerasInitializer, parameter: Parameter, name: str, shape: tuple[int, ...], again: str = ""
    ) -> Distribution:
        """Add a call of an initializer, and return its law. again: the request of its earlier call."""
        try:
            law = law_of(initializer, parameter, shape)
        except SchemeMismatch as mismatch:
            raise self._refusal(parameter.path, str(mismatch)) from None
        if isinstance(law, Orthogonal) and parameter.dtype in HALF_DTYPES:
            raise self._refusal(parameter.path, f"Keras draws no orthogonal matrix in {parameter.dtype}")
        if parameter.dtype in FLOAT_DTYPES and parameter.dtype not in self.framework.dtypes:
            raise self._refusal(parameter.path, f"the values in {parameter.dtype} are unknown")
        request = Again(again, law) if again and isinstance(law, RANDOM) else law
        self.requests[name] = DrawRequest(request, shape, numpy_dtype(parameter.dtype))
        self.tensors[name] = Parameter(name, tuple(map(batch_axis, shape)), dtype=parameter.dtype)
        return law

    def _add_constants(self, block: Block) -> None:
        """Add the parameters of a layer for which Keras takes no initializer."""
        for parameter in block.parameters:
            if parameter.path in self.assigned and parameter.path not in self.arrangements:
                if self.assigned[parameter.path].node is not None:
                    raise self._refusal(parameter.path, "Keras' layer takes no initializer for it")
                self._add(parameter, SeedUse())

    def _refusal(self, path: str, rule: str) -> AddressError:
        return AddressError(f"--exactly {self.framework.name}: {rule}", path)


def _paths(block: Block) -> list[str]:
    """Return the paths of a layer's parameters, relative to the layer."""
    return [parameter.path.removeprefix(f"{block.path}/") for parameter in block.parameters]


def _with_wrapped(layer: Layer) -> Iterator[Layer]:
    """Yield a layer, and the layers that it wraps."""
    yield layer
    for value in vars(layer).values():
        if isinstance(value, Wrapped):
            yield from _with_wrapped(value.layer)


VERSION = "keras 3.15"
KERAS: tuple[Keras, ...] = (
    Keras(ON_TORCH, f"{VERSION}, torch>=2.12", f"{VERSION}, torch>=2.12, x86-64 with AVX2", FLOAT_DTYPES),
    Keras(ON_JAX, f"{VERSION}, jax>=0.10, x86-64 with FMA", f"{VERSION}, jax>=0.10, x86-64 with FMA"),
    Keras(ON_TENSORFLOW, f"{VERSION}, tensorflow>=2.21", f"{VERSION}, tensorflow>=2.21, glibc"),
)

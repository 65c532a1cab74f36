"""Probe a model: whether its values let signals through, forward and back, and which scheme would do better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite, isnan, log10

from paramctl.compute.signals import LayerSignal, ParameterSignal, Signals

LARGEST_CHANGE = 100.0
"""A signal that becomes so many times smaller or larger on its way vanishes or explodes."""
MOST_USELESS = 0.5
"""The share of a layer's units that may be dead, or of its values that may be saturated."""


@dataclass(frozen=True, slots=True)
class Probe:
    """The signals of a model under one scheme.

    scheme: None for its own values. forward, backward: the factor by which the root mean square of the activations, or
    of the gradients, changes over the depth; backward is None if gradients were not computed.
    dead, saturated: the largest share in any layer; None if no layer has such units.
    findings: the faults, in words; none if signals pass.
    """

    scheme: str | None
    layers: list[LayerSignal]
    parameters: list[ParameterSignal]
    forward: float
    backward: float | None
    dead: float | None
    saturated: float | None
    findings: list[str]

    @property
    def cost(self) -> float:
        """The distance from signals that pass unchanged: decades of change, and shares of useless units."""
        changes = [self.forward, *([] if self.backward is None else [self.backward])]
        decades = sum(abs(log10(change)) if change and isfinite(change) else inf for change in changes)
        return decades + 2 * ((self.dead or 0) + (self.saturated or 0))


def judge(scheme: str | None, measured: Signals) -> Probe:
    """Return the signals of a model with the faults in them."""
    layers = measured.layers
    forward = layers[-1].rms / measured.input_rms if layers else 1.0
    gradients = [layer.gradient for layer in layers if layer.gradient is not None]
    backward = _ratio(gradients[0], gradients[-1]) if gradients else None
    dead = [layer.dead for layer in layers if layer.dead is not None]
    saturated = [layer.saturated for layer in layers if layer.saturated is not None]
    findings = [*_forward(layers, measured.input_rms), *_backward(layers), *_useless(layers)]
    largest = max(dead, default=None), max(saturated, default=None)
    return Probe(scheme, layers, measured.parameters, forward, backward, *largest, findings)


def _ratio(value: float, by: float) -> float:
    return value / by if by else 0.0 if not value else inf


def _forward(layers: Sequence[LayerSignal], start: float) -> list[str]:
    """Return where activations vanish or explode first, in words."""
    return _first_fault("activations", "input", [(layer.path, layer.rms / start) for layer in layers])


def _backward(layers: Sequence[LayerSignal]) -> list[str]:
    """Return where gradients vanish or explode first on the way back, in words."""
    known = [(layer.path, layer.gradient) for layer in layers if layer.gradient is not None]
    end = known[-1][1] if known else 0.0
    return _first_fault("gradients", "output", [(path, _ratio(gradient, end)) for path, gradient in reversed(known)])


def _first_fault(signal: str, begin: str, ratios: Sequence[tuple[str, float]]) -> list[str]:
    """Return where a signal vanishes or explodes first, in words.

    ratios: the size of the signal in each layer on its way, relative to that at its begin.
    """
    # only the first is named: the layers after it have the same fault from it
    for path, ratio in ratios:
        if not isfinite(ratio):
            return [f"{signal} {'have NaN' if isnan(ratio) else 'overflow'} in {path}"]
        if ratio > LARGEST_CHANGE or ratio * LARGEST_CHANGE < 1:
            word = "explode" if ratio > 1 else "vanish"
            return [f"{signal} {word} in {path}: {ratio:.3g} times those of the {begin}"]
    return []


def _useless(layers: Sequence[LayerSignal]) -> list[str]:
    """Return the first layer with many dead units, and the first with many saturated values, in words."""
    texts = []
    for word, share in (("units are dead", "dead"), ("values are saturated", "saturated")):
        first = next((layer for layer in layers if (getattr(layer, share) or 0) > MOST_USELESS), None)
        if first is not None:
            texts.append(f"{getattr(first, share):.0%} of {word} in {first.path}")
    return texts

"""Registry: what is wrong, or unusual, with the weights, inputs, states, layer, offsets or index of a call."""

from __future__ import annotations

from . import disturbed_inputs, disturbed_layers, disturbed_offsets  # noqa: F401
from .disturbing import ALL

DISTURBANCES = {d.name: d for d in ALL}

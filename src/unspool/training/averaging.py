"""An average of the weights over the steps of a training, for validation and as the result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class MovingAverage:
    """mean ← d mean + (1 - d) weights after each step, d = min(decay, (1 + step) / (10 + step)).

    The smaller d of the first steps forgets the start (Polyak, Juditsky 1992; as in the Adam averages of Kingma,
    Ba 2015, section 7.2). Only trained parameters are averaged. decay: in [0, 1).
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.mean = [p.detach().clone() for p in self.parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are now."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.mean, [p.detach() for p in self.parameters], 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within it the module has the mean, after it its own weights again."""
        own = [p.detach().clone() for p in self.parameters]
        self._put(self.mean)
        try:
            yield
        finally:
            self._put(own)

    def state_dict(self) -> dict[str, object]:
        """What `load_state_dict` restores."""
        return {"steps": self.steps, "mean": [m.clone() for m in self.mean]}

    def load_state_dict(self, state: dict) -> None:
        """Go on from `state_dict()`."""
        self.steps = int(state["steps"])
        for mean, saved in zip(self.mean, state["mean"], strict=True):
            mean.copy_(saved)

    @torch.no_grad()
    def _put(self, values: list[Tensor]) -> None:
        for parameter, value in zip(self.parameters, values, strict=True):
            parameter.copy_(value)

"""What a disturbance is, and how one is entered in the registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from .given import Given


@dataclass(frozen=True)
class Disturbance:
    """apply: changes what is given. wanted: "numbers" (torch's, and no error), "error", or "either".

    words: of which the error's message has one: what is wrong and where.
    """

    name: str
    target: str
    wanted: str
    words: tuple[str, ...]
    apply: Callable[[Given], None]

    def fits(self, given: Given, reads: bool = False) -> bool:
        """reads: whether the surroundings compute with what is given: torch itself crashes where memory is missing."""
        computed = given.subject.frozen if self.target == "weights" else reads
        if computed and self.name.endswith("resized storage"):
            return False
        layouts = {"index": ("indexed",), "offsets": ("indexed", "ragged")}
        return self.target not in layouts or given.subject.layout in layouts[self.target]


ALL: list[Disturbance] = []


def disturb(name: str, wanted: str, *words: str) -> Callable[[Callable[[Given], None]], Any]:
    def add(apply: Callable[[Given], None]) -> Callable[[Given], None]:
        ALL.append(Disturbance(name, name.split()[0], wanted, words, apply))
        return apply

    return add


def tensors(change: Callable[[Tensor], Any], name: str, wanted: str, *words: str) -> None:
    """The same change of an input, of a state, and of the first weight that multiplies the state."""

    def of_x(given: Given) -> None:
        given.x = change(given.x.detach())
        _learn(given, given.x)

    def of_state(given: Given) -> None:
        given.state[0] = change(given.state[0].detach())
        _learn(given, given.state[0])

    def of_weights(given: Given) -> None:
        set_weight(given, change(recurrent_weight(given).detach()))

    for target, apply in (("x", of_x), ("state", of_state), ("weights", of_weights)):
        disturb(f"{target} {name}", wanted, *words)(apply)


def _learn(given: Given, tensor: Any) -> None:
    if given.train and isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.is_leaf:
        tensor.requires_grad_()


def recurrent_weight(given: Given) -> Tensor:
    return next(p for name, p in given.layer.named_parameters() if "weight_hh" in name)


def set_weight(given: Given, tensor: Tensor) -> None:
    """By `.data`, or as another Parameter where torch does not let these numbers in."""
    weight = recurrent_weight(given)
    try:
        weight.data = tensor
    except RuntimeError:
        for module in given.layer.modules():
            for name, own in module._parameters.items():
                if own is weight:
                    module._parameters[name] = nn.Parameter(tensor, False)


disturb("none", "numbers")(lambda given: None)

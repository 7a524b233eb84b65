"""Where a step multiplies its state by weights: found by watching torch's functions as the step calls them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from unspool.state import flatten, unflatten

PRODUCTS = frozenset("linear matmul mm addmm einsum".split())
SHAPES = frozenset("cat concat concatenate split chunk unbind narrow __getitem__".split())
POINTWISE = frozenset("mul multiply div neg tanh relu sigmoid layer_norm rms_norm clone contiguous".split())

Product = Callable[[Callable[..., Any]], None]


class StateProducts(TorchFunctionMode):
    """Within it, a part of the state that enters a product is first multiplied by its mask.

    parts: a part's number -> (the part, its mask (B, width)). The mask goes with the part through gates (r ⊙ h),
    activations, normalisation, slices and concatenation. A sum, such as (1 - z) ⊙ n + z ⊙ h, goes on without.
    others: the mask of what is concatenated with a part.
    watch: called at each product with the product as a function of what takes the parts' places.
    `seen`: the numbers of the parts that met a product.
    """

    def __init__(
        self, parts: Mapping[int, tuple[Tensor, Tensor]], others: float = 1.0, watch: Product | None = None
    ) -> None:
        super().__init__()
        self.held = {id(part): (part, mask, frozenset([k])) for k, (part, mask) in parts.items()}
        self.others, self.watch = others, watch
        self.seen: set[int] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        found = [self.held[id(t)] for t in _tensors((args, kwargs)) if id(t) in self.held]
        if not found:
            return func(*args, **kwargs)

        def call(replace: Callable[[Tensor], Tensor]) -> Any:
            return func(*_map(args, replace), **_map(kwargs, replace))

        if func.__name__ in PRODUCTS:
            return self._product(call, found)
        result = func(*args, **kwargs)
        masks = None
        if func.__name__ in SHAPES:
            masks = call(self._mask)
        elif func.__name__ in POINTWISE and len(found) == 1 and result.shape == found[0][0].shape:
            masks = found[0][1]
        if masks is not None:
            numbers = frozenset(k for _, _, ks in found for k in ks)
            for tensor, mask in zip(_tensors(result), _tensors(masks)):
                self.held[id(tensor)] = (tensor, mask, numbers)
        return result

    def _product(self, call: Callable[[Callable[[Tensor], Tensor]], Any], found: list[Any]) -> Any:
        self.seen.update(k for _, _, ks in found for k in ks)
        if self.watch is not None:
            self.watch(lambda scale: call(lambda t: scale * self.held[id(t)][1] if id(t) in self.held else t))
        return call(lambda t: t * self.held[id(t)][1] if id(t) in self.held else t)

    def _mask(self, tensor: Tensor) -> Tensor:
        if id(tensor) in self.held:
            return self.held[id(tensor)][1]
        return torch.full_like(tensor, self.others) if tensor.is_floating_point() else tensor


@dataclass(frozen=True)
class Found:
    """parts: the numbers of the state's parts that a step multiplies by weights.
    weights: name -> bool of the weight's shape, True for the entries that multiply them.
    """

    parts: list[int]
    weights: dict[str, Tensor]


def find_products(cell: nn.Module, input_size: int) -> Found:
    """The products of one step of `cell`, run on zeros."""
    with torch.inference_mode(False), torch.enable_grad():
        weights = {name: p.detach().clone().requires_grad_() for name, p in cell.named_parameters()}
        reached: dict[str, Tensor] = {}
        generator = torch.Generator().manual_seed(0)

        def random(like: Tensor) -> Tensor:
            """Numbers that no sum of weights, such as w - w.t(), cancels."""
            drawn = torch.rand(like.shape, generator=generator, dtype=torch.float64, device="cpu")
            return (drawn + 0.5).to(like)

        def watch(product: Callable[[float], Tensor]) -> None:
            """A weight multiplies the state where its gradient changes with what stands for the state."""
            grads, seed = [], random(product(0.0))
            for scale in (0.0, 1.0):
                total = (product(scale) * seed).sum()
                if not total.requires_grad:
                    return
                given = torch.autograd.grad(
                    total, list(weights.values()), retain_graph=True, allow_unused=True
                )
                grads.append(given)
            for name, before, after in zip(weights, *grads):
                if after is not None and bool((before != after).any()):
                    reached[name] = reached.get(name, False) | (before != after)

        like: Any = cell.initial_state(2)  # type: ignore[operator]
        leaves = [leaf.detach().clone() for leaf in flatten(like)]
        parts = {k: (leaf, random(leaf)) for k, leaf in enumerate(leaves)}
        x = leaves[0].new_zeros(2, input_size)
        with StateProducts(parts, 0.0, watch) as products:
            torch.func.functional_call(cell, weights, (x, unflatten(like, leaves)))
    return Found(sorted(products.seen), reached)


def _tensors(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, (tuple, list)):
        for part in tree:
            yield from _tensors(part)
    elif isinstance(tree, dict):
        yield from _tensors(list(tree.values()))


def _map(tree: Any, f: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(tree, Tensor):
        return f(tree)
    if isinstance(tree, (tuple, list)):
        return type(tree)(_map(part, f) for part in tree)
    if isinstance(tree, dict):
        return {name: _map(value, f) for name, value in tree.items()}
    return tree

"""Complex numbers in a step: each tensor of them is two of real numbers, and every operation is one on those.

The functions below are torch's operations with such pairs in the place of complex tensors and numbers. Since the
program is one of real numbers, so are its gradients: those of torch, whose loss is a real number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from unspool.program.aliases import storage_of
from unspool.program.inner import Inner
from unspool.program.layout import Unsupported, Value
from unspool.program.operands import value
from unspool.program.origins import leaves

if TYPE_CHECKING:
    from unspool.program.tracer import Tracer

aten: Any = torch.ops.aten


class Pair(NamedTuple):
    """Real and imaginary part, tensors or numbers."""

    re: Any
    im: Any


OPERATIONS: dict[str, Callable[..., Any]] = {}
# Each part by itself, by the same operation.
PARTS = frozenset(
    """view _unsafe_view reshape _reshape_alias unsqueeze squeeze clone alias permute t transpose expand repeat slice
    select split split_with_sizes unbind flip roll diagonal detach cat stack index index_select cumsum sum mean neg
    zeros_like tril triu lift_fresh""".split()
)


def operation(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        OPERATIONS.update(dict.fromkeys(names, function))
        return function

    return register


def has(t: Tracer, name: str, args: Any, kwargs: Any, tensors: list[Tensor]) -> bool:
    """Whether an operation on values of the batch reads or makes complex numbers."""
    if not any(id(a) in t.values or (id(a) in t.pairs and id(a) not in t.source_of) for a in tensors):
        return False
    kind = kwargs.get("dtype")
    return (
        name in _MAKE
        or any(tensor.is_complex() for tensor in tensors)
        or any(isinstance(a, complex) for a in leaves(args))
        or (isinstance(kind, torch.dtype) and kind.is_complex)
    )


def lower(t: Tracer, func: Any, name: str, args: Any, kwargs: Any, result: Any) -> Any:
    """Write an operation, which gave `result`, down in real numbers."""
    if name not in PARTS and name not in OPERATIONS:
        raise Unsupported(f"the operation 'aten.{name}' on complex numbers")
    with Inner(t):
        given = _paired(t, args)
        if name in PARTS:
            given = _all_complex(given)
            both = [func(*_part(given, k), **kwargs) for k in (0, 1)]
            made: Any = [Pair(*b) for b in zip(*both)] if isinstance(result, (tuple, list)) else Pair(*both)
        else:
            made = OPERATIONS[name](*given, **kwargs)
        for tensor, part in zip(leaves(result), made if isinstance(made, list) else [made]):
            _keep(t, tensor, part)
    return result


def _keep(t: Tracer, tensor: Tensor, made: Any) -> None:
    t.alive.append(tensor)
    t.callers[storage_of(tensor)] = "memory that complex numbers lie in"
    if not isinstance(made, Pair):
        return t.add_value(tensor, value(t, made))
    if tensor.dtype != torch.complex64:
        raise Unsupported(f"a value of type {tensor.dtype}")
    re, im = (part.expand(tensor.shape) if part.shape != tensor.shape else part for part in made)
    t.alive += [re, im]
    t.pairs[id(tensor)] = (re, im)


def _paired(t: Tracer, tree: Any) -> Any:
    """Arguments with pairs in the place of complex tensors and numbers."""
    if isinstance(tree, (tuple, list)):
        return type(tree)(_paired(t, part) for part in tree)
    if isinstance(tree, complex):
        return Pair(tree.real, tree.imag)
    if not isinstance(tree, Tensor) or not tree.is_complex():
        return tree
    if id(tree) not in t.pairs:
        both = torch.view_as_real(tree.resolve_conj())
        t.pairs[id(tree)] = (both.select(-1, 0), both.select(-1, 1))
        t.alive += [tree, *t.pairs[id(tree)]]
    return Pair(*t.pairs[id(tree)])


def _all_complex(tree: Any) -> Any:
    """Real tensors as pairs too."""
    if isinstance(tree, Pair):
        return tree
    if isinstance(tree, (tuple, list)):
        return type(tree)(_all_complex(part) for part in tree)
    if isinstance(tree, Tensor) and tree.is_floating_point():
        return Pair(tree, torch.zeros_like(tree))
    return tree


def _part(tree: Any, k: int) -> Any:
    if isinstance(tree, Pair):
        return tree[k]
    return type(tree)(_part(p, k) for p in tree) if isinstance(tree, (tuple, list)) else tree


def _pair(a: Any) -> Pair:
    return a if isinstance(a, Pair) else Pair(a, 0.0 * a)


def _times(a: Any, b: Any, product: Callable[[Any, Any], Any] = lambda x, y: x * y) -> Any:
    if not isinstance(a, Pair):
        return Pair(product(a, b.re), product(a, b.im)) if isinstance(b, Pair) else product(a, b)
    if not isinstance(b, Pair):
        return Pair(product(a.re, b), product(a.im, b))
    return Pair(
        product(a.re, b.re) - product(a.im, b.im),
        product(a.re, b.im) + product(a.im, b.re),
    )


def _conjugate(a: Any) -> Pair:
    return Pair(a.re, -a.im)


def _square(a: Pair) -> Any:
    return a.re * a.re + a.im * a.im


def _scaled(a: Any, factor: float) -> Any:
    return a if factor == 1 else _times(a, factor)


operation("mul")(_times)
operation("mm")(lambda a, b: _times(a, b, torch.mm))
operation("bmm")(lambda a, b: _times(a, b, torch.bmm))
operation("mv")(lambda a, b: _times(a, b, torch.mv))
operation("_conj", "conj_physical")(_conjugate)
operation("abs")(lambda a: torch.linalg.vector_norm(torch.stack([a.re, a.im], -1), 2, -1))
operation("angle")(lambda a: torch.atan2(a.im, a.re))
operation("complex")(Pair)
operation("polar")(lambda size, angle: Pair(size * torch.cos(angle), size * torch.sin(angle)))
operation("view_as_complex")(lambda a: Pair(a.select(-1, 0), a.select(-1, 1)))
operation("view_as_real")(lambda a: torch.stack([a.re, a.im], -1))
operation("reciprocal")(lambda a: _divided(1.0, a))
operation("square")(lambda a: _times(a, a))


@operation("sgn")
def _direction(a: Pair) -> Pair:
    """a / |a|, 0 of 0."""
    size = torch.linalg.vector_norm(torch.stack([a.re, a.im], -1), 2, -1)
    size = torch.where(size == 0, 1.0, size)
    return Pair(a.re / size, a.im / size)


@operation("div")
def _divided(a: Any, b: Any) -> Any:
    if not isinstance(b, Pair):
        return Pair(a.re / b, a.im / b)
    size = _square(b)
    top = _times(a, _conjugate(b))
    return Pair(top.re / size, top.im / size)


@operation("add")
def _add(a: Any, b: Any, alpha: float = 1) -> Pair:
    a, b = _pair(a), _pair(_scaled(b, alpha))
    return Pair(a.re + b.re, a.im + b.im)


@operation("sub")
def _sub(a: Any, b: Any, alpha: float = 1) -> Pair:
    a, b = _pair(a), _pair(_scaled(b, alpha))
    return Pair(a.re - b.re, a.im - b.im)


operation("rsub")(lambda a, b, alpha=1: _sub(b, a, alpha))


@operation("addmm", "baddbmm")
def _add_product(c: Any, a: Any, b: Any) -> Pair:
    return _add(c, _times(a, b, torch.matmul))


@operation("exp")
def _exp(a: Pair) -> Pair:
    size = torch.exp(a.re)
    return Pair(size * torch.cos(a.im), size * torch.sin(a.im))


@operation("pow")
def _pow(a: Pair, exponent: Any) -> Pair:
    if exponent not in (1, 2, 3, 4):
        raise Unsupported(f"complex numbers to the power of {exponent}")
    made = a
    for _ in range(int(exponent) - 1):
        made = _times(made, a)
    return made


@operation("_to_copy")
def _converted(a: Any, **kwargs: Any) -> Any:
    if not kwargs.get("dtype", torch.complex64).is_complex:
        raise Unsupported("complex numbers as real ones, without '.real' or 'abs'")
    return _pair(a)


@operation("where")
def _where(chosen: Tensor, a: Any, b: Any) -> Pair:
    a, b = _pair(a), _pair(b)
    return Pair(torch.where(chosen, a.re, b.re), torch.where(chosen, a.im, b.im))


# --- Fourier transforms: products by what they make of the identity, an axis at a time


def _transformed(a: Tensor, dim: int, matrix: Tensor) -> Tensor:
    return (a.movedim(dim, -1) @ matrix).movedim(-1, dim)


def _along(a: Any, dim: int, matrix: Tensor) -> Pair:
    both = torch.view_as_real(matrix)
    return _times(a, Pair(both.select(-1, 0), both.select(-1, 1)), lambda x, m: _transformed(x, dim, m))


def _identity(n: int) -> Tensor:
    return torch.eye(n, dtype=torch.float32, device="cpu")


@operation("_fft_r2c")
def _of_real(a: Tensor, dims: list[int], scaling: int, half: bool) -> Pair:
    *rest, last = dims
    made = _along(a, last, aten._fft_r2c(_identity(a.shape[last]), [1], scaling, half))
    return _of_complex(made, rest, scaling, True)


@operation("_fft_c2c")
def _of_complex(a: Pair, dims: list[int], scaling: int, forward: bool) -> Pair:
    for dim in dims:
        eye = _identity(a.re.shape[dim]).to(torch.complex64)
        a = _along(a, dim, aten._fft_c2c(eye, [1], scaling, forward))
    return a


@operation("_fft_c2r")
def _to_real(a: Pair, dims: list[int], scaling: int, size: int) -> Tensor:
    *rest, last = dims
    a = _of_complex(a, rest, scaling, False)
    eye = _identity(a.re.shape[last])
    of_re, of_im = (
        aten._fft_c2r(torch.complex(*both), [1], scaling, size) for both in ((eye, 0 * eye), (0 * eye, eye))
    )
    return _transformed(a.re, last, of_re) + _transformed(a.im, last, of_im)


_MAKE = frozenset(["complex", "polar", "view_as_complex", "_fft_r2c"])
__all__ = ["Pair", "Value", "has", "lower"]

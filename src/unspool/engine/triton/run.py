"""Programs over ragged batches in generated kernels, forward and backward."""

from __future__ import annotations

import hashlib
import linecache
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from unspool.engine.triton.affine import Affine, affine
from unspool.engine.triton.body import ROWS_OF_BLOCK, Ref
from unspool.engine.triton.plan import Plan, make_plan
from unspool.engine.triton.source import Kernel
from unspool.errors import EngineError
from unspool.program import interpret
from unspool.program.ir import Program


def run(
    program: Program,
    sources: Mapping[int, Tensor],
    values: Tensor,
    offsets: Tensor,
    index: Tensor | None,
    state: Sequence[Tensor],
    reverse: bool,
) -> tuple[Tensor, list[Tensor]]:
    """As `engine.eager.run`, in one launch, or one scan a state part. sources: the tensors of the program, by their
    numbers; with `index` (N,) the input of row n is `values[index[n]]`. All in float32 and on one device, `offsets` on
    the CPU."""
    batch = _batch(offsets).to(values.device)
    steps = affine(program)
    if steps is not None:
        return _by_scan(steps, sources, values, batch, index, state, reverse)
    plan = make_plan(program)
    loop = plan.loop
    edges = interpret.evaluate(loop.graph, loop.edges, sources, values, [])
    fixed = interpret.evaluate(loop.graph, loop.fixed, sources, values.new_zeros(1, values.shape[1]), [])
    if index is not None:
        edges = [edge[index] for edge in edges]
    tokens = len(values) if index is None else len(index)
    matrices = [sources[s] for s in plan.matrices]
    tensors = [*edges, *fixed, *matrices, *state]
    training = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    output, *finals = _Loop.apply(plan, batch, tokens, (reverse, training), *tensors)
    return output, finals


def _by_scan(
    steps: Affine,
    sources: Mapping[int, Tensor],
    values: Tensor,
    batch: Tensor,
    index: Tensor | None,
    state: Sequence[Tensor],
    reverse: bool,
) -> tuple[Tensor, list[Tensor]]:
    from unspool.engine.triton.scan import Scan

    terms = interpret.evaluate(steps.graph, [*steps.scales, *steps.shifts], sources, values, [])
    if index is not None:
        terms = [term[index] for term in terms]
    pairs = zip(terms, terms[len(state) :], state)
    results = [Scan.apply(batch, reverse, scale, shift, part) for scale, shift, part in pairs]
    return results[0][0], [final for _, final in results]


def _batch(offsets: Tensor) -> Tensor:
    """(3, B): the sequences from the longest to the shortest, their first tokens, their lengths."""
    lengths = offsets.diff()
    order = torch.argsort(lengths, descending=True, stable=True)
    return torch.stack([order, offsets[:-1][order], lengths[order]])


@lru_cache(maxsize=256)
def compiled(text: str) -> Any:
    """The kernel of a source text. The 256 used last are kept; Triton keeps what it makes of them."""
    import triton

    from unspool.engine.triton import functions

    name = f"<unspool kernel {hashlib.sha256(text.encode()).hexdigest()[:16]}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)  # where Triton reads it
    space = {**vars(functions), "triton": triton, "tl": triton.language, "__name__": __name__}
    exec(compile(text, name, "exec"), space)
    return space["kernel"]


def launch(kernel: Kernel, tensors: Mapping[str, Tensor], batch: Tensor, reverse: bool) -> None:
    count = batch.shape[1]
    precision = "ieee" if torch.get_float32_matmul_precision() == "highest" else "tf32"
    compiled(kernel.text)[(-(-count // ROWS_OF_BLOCK),)](
        *(tensors[name] for name in kernel.pointers),
        batch,
        count,
        REVERSE=reverse,
        PRECISION=precision,
        ROWS=ROWS_OF_BLOCK,
        WIDTH=kernel.width,
        num_warps=4 if kernel.widest <= 32 else 8 if kernel.widest <= 128 else 16,
        num_stages=1,
    )


def first_derivatives_only() -> None:
    if torch.is_grad_enabled():  # create_graph=True
        raise EngineError(
            "Generated kernels have first derivatives only. Got a request for second ones (create_graph=True). "
            "Build the layer with engine='eager' to differentiate twice."
        )


class _Loop(torch.autograd.Function):
    """(edges, fixed, matrices, initial state parts) -> (output, final state parts)."""

    @staticmethod
    def forward(
        ctx: Any, plan: Plan, batch: Tensor, tokens: int, how: tuple[bool, bool], *given: Tensor
    ) -> Any:
        given = tuple(tensor.contiguous() for tensor in given)
        reverse, training = how
        kernel = plan.training.forward if training else plan.forward
        states = given[len(given) - len(plan.loop.states) :]
        new = given[0].new_empty
        output = new(tokens, states[0].shape[1])
        finals = [torch.empty_like(state) for state in states]
        tape = new(max(tokens if training else batch.shape[1], 1), max(kernel.width, 1))
        if tokens:
            named = {**_named(plan, given), "output": output, "tape": tape, **_numbered("final", finals)}
            launch(kernel, named, batch, reverse)
        else:
            finals = [state.clone() for state in states]
        ctx.plan, ctx.reverse = plan, reverse
        ctx.save_for_backward(batch, output, tape, *given)
        return output, *finals

    @staticmethod
    def backward(ctx: Any, d_output: Tensor, *d_finals: Tensor) -> Any:
        first_derivatives_only()
        batch, output, tape, *given = ctx.saved_tensors
        plan, training = ctx.plan, ctx.plan.training
        loop, kernel = plan.loop, training.backward
        tokens, new = len(output), output.new_empty
        d_states = [torch.empty_like(d) for d in d_finals]
        named = {**_named(plan, given), "output": output, "tape": tape, "d_output": d_output.contiguous()}
        named |= {
            "grads": new(max(tokens, 1), max(kernel.width, 1)),
            "sums": new(batch.shape[1], max(kernel.sums, 1)),
            **_numbered("d_final", [d.contiguous() for d in d_finals]),
            **_numbered("d_state", d_states),
        }
        if not tokens:
            return None, None, None, None, *map(torch.zeros_like, given[: -len(d_states)]), *d_finals
        launch(kernel, named, batch, ctx.reverse)
        sums = named["sums"].sum(0)
        grads: list[Any] = [
            None if ref is None else _columns(named, ref, loop.graph.width(v))
            for v, ref in zip(loop.edges, training.edges)
        ]
        for value, parts in zip(loop.fixed, training.fixed):
            row = new(1, loop.graph.width(value)).zero_()
            for column, first, stop in parts:
                row[0, first:stop] = sums[column : column + stop - first]
            grads.append(row)
        wanted = ctx.needs_input_grad[4 + len(grads) :]
        grads += _of_matrices(plan, named, [s for s, need in zip(plan.matrices, wanted) if need])
        return None, None, None, None, *grads, *d_states


def _of_matrices(plan: Plan, named: Mapping[str, Tensor], wanted: Sequence[int]) -> list[Tensor | None]:
    """The gradient of each of the plan's matrices that is wanted: one product for gradients that lie side by side."""
    found = {s: torch.zeros_like(named[f"matrix{s}"]) for s in wanted}
    products = [p for p in plan.training.products if p.matrix.source in found]
    at = 0
    while at < len(products):
        first, end, stop = products[at], at, products[at].gradient.offset
        while (
            end < len(products)
            and products[end].operand == first.operand
            and products[end].gradient.offset == stop
        ):
            stop += products[end].matrix.width
            end += 1
        operand = _columns(named, first.operand, first.matrix.inner)
        whole = operand.t() @ _columns(named, first.gradient, stop - first.gradient.offset)
        column = 0
        for product in products[at:end]:
            m = product.matrix
            part = whole[:, column : column + m.width]
            found[m.source][slice(*m.rows), slice(*m.columns)] += part.t() if m.transposed else part
            column += m.width
        at = end
    return [found.get(s) for s in plan.matrices]


def _columns(named: Mapping[str, Tensor], ref: Ref, width: int) -> Tensor:
    return named[ref.pointer][:, ref.offset : ref.offset + width]


def _named(plan: Plan, given: Sequence[Tensor]) -> dict[str, Tensor]:
    loop = plan.loop
    names = [
        *(f"edge{j}" for j in range(len(loop.edges))),
        *(f"fixed{j}" for j in range(len(loop.fixed))),
        *(f"matrix{s}" for s in plan.matrices),
        *(f"state{k}" for k in range(len(loop.states))),
    ]
    return dict(zip(names, given, strict=True))


def _numbered(name: str, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
    return {f"{name}{k}": tensor for k, tensor in enumerate(tensors)}

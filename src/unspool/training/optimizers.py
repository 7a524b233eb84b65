"""AdamW for the whole network, Adam for the rows of an embedding that a batch touched; clipping over both."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import increment_version

from unspool import _native
from unspool.nn.given import GivenEmbedding
from unspool.training.settings import Settings
from unspool.training.tails import Tails


def make_optimizers(
    network: nn.Module, by_rows: nn.Embedding | None, settings: Settings
) -> list[torch.optim.Optimizer]:
    """AdamW (fused) for dense gradients, then `RowAdam` for an embedding with sparse ones.

    by_rows: the embedding that is trained within `rows_of_batches`, if any.
    """
    options: dict[str, Any] = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    given = {id(m.weight) for m in network.modules() if isinstance(m, GivenEmbedding)}

    def groups(parameters: list[Any]) -> list[dict[str, Any]]:
        """Given vectors in a group of their own; share: of the learning rate."""
        shares = {1.0: [p for p in parameters if id(p) not in given]}
        shares.setdefault(settings.vectors_rate, []).extend(p for p in parameters if id(p) in given)
        rate = settings.learning_rate
        return [{"params": ps, "share": s, "lr": rate * s} for s, ps in shares.items() if ps]

    moving = [] if by_rows is None else [by_rows.weight]
    sparse = [m.weight for m in network.modules() if isinstance(m, nn.Embedding) and m.sparse]
    apart = {id(p) for p in (*moving, *sparse)}
    dense = [p for p in network.parameters() if p.requires_grad and id(p) not in apart]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups(dense), **options, fused=True)]
    if sparse:
        optimizers.append(RowAdam(groups(sparse), **options))
    if moving:
        optimizers.append(RowAdam(groups(moving), **options, untouched="moving"))
    return optimizers


class RowAdam(torch.optim.Optimizer):
    """Adam for parameters (V, E) with sparse gradients, in time proportional to the rows that have one.

    untouched: what happens to rows without a gradient.
        "still" (default): nothing. Their moments do not decay, and they neither move on nor shrink by
        `weight_decay`, as in `torch.optim.SparseAdam`.
        "moving": what `torch.optim.AdamW` does to them at each step, all at once when it is needed: call
        `catch_up` before rows are read, `catch_up_all` before the whole table is. The numbers are AdamW's up
        to rounding; with gradients of the size of eps or less, rows of the first steps differ by up to 3 % of
        lr (see `Tails`). Changed settings count from the next step on; it brings all rows up to date first.
        ValueError for settings that `Tails` does not take.

    A table whose rows are all touched at every step gets the numbers of AdamW in both.
    On the CPU only. A table of 10,000 x 256 with 250 rows touched, one thread: 0.16 ms a step; "moving" 0.12, and
    0.16 to catch up, 1.6 for all rows. Fused AdamW takes 1.5, and a dense gradient and its norm 0.7 more than
    sparse ones.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        untouched: Literal["still", "moving"] = "still",
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        self.moving = untouched == "moving"
        if self.moving:
            for group in self.param_groups:
                _tails(group)  # which raises where it must
        for table in (table for group in self.param_groups for table in group["params"]):
            if (
                table.dtype not in (torch.float32, torch.float64)
                or not table.is_cpu
                or not table.is_contiguous()
            ):
                raise ValueError(
                    "RowAdam takes contiguous tables of float32 or float64 on the CPU. "
                    f"Got {table.dtype} on {table.device}, strides {table.stride()}. Use torch.optim.SparseAdam."
                )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One step of every table with a gradient. The rows of "moving" tables must be up to date."""
        if closure is not None:
            raise ValueError("RowAdam takes no closure.")
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is None:
                    continue
                grad = coalesced(table.grad)
                self._begin(table, group)
                self._step(table, grad._indices()[0].contiguous(), grad._values().contiguous())

    @torch.no_grad()
    def catch_up(self, table: Tensor, rows: Tensor) -> None:
        """Bring `rows` (n,) of a parameter to what the steps so far make of them."""
        if self.moving and table in self.state:
            self._catch_up(table, rows.long().contiguous())

    @torch.no_grad()
    def catch_up_all(self) -> None:
        """Bring every row of every table up to date."""
        for table in self.state:
            self.catch_up(table, torch.arange(len(table), device="cpu"))

    def state_dict(self) -> dict[str, Any]:
        """Settings and moments of every table, as numbers and tensors; with "moving" also how far each row is, since
        rows of the table itself may be behind."""
        tables = [table for group in self.param_groups for table in group["params"]]
        state = [{k: v for k, v in self.state.get(table, {}).items() if k != "tails"} for table in tables]
        groups = [{k: v for k, v in group.items() if k != "params"} for group in self.param_groups]
        return {"moving": self.moving, "state": state, "param_groups": groups}

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave, with the same numbers. ValueError for another kind or shape of table."""
        tables = [table for group in self.param_groups for table in group["params"]]
        shapes = [state["mean"].shape for state in state_dict["state"] if state]
        if state_dict["moving"] != self.moving or (shapes and shapes != [table.shape for table in tables]):
            raise ValueError(f"The state of RowAdam must be of tables {[tuple(t.shape) for t in tables]}.")
        for group, kept in zip(self.param_groups, state_dict["param_groups"]):
            group.update({**kept, "betas": tuple(kept["betas"])})
        for table, kept in zip(tables, state_dict["state"]):
            state: dict[str, Any] = {
                name: v.clone() if isinstance(v, Tensor) else v for name, v in kept.items()
            }
            if self.moving and state:
                state["settings"] = {**state["settings"], "betas": tuple(state["settings"]["betas"])}
                state["tails"] = _tails(state["settings"], state["start"])
            if state:
                self.state[table] = state

    def _begin(self, table: Tensor, group: dict[str, Any]) -> None:
        """Count a step; if settings changed since the last one, bring all rows and moments up to date."""
        state = self.state[table]
        settings = {name: group[name] for name in self.defaults}
        if not state:
            state.update(step=0, mean=torch.zeros_like(table), square=torch.zeros_like(table))
        if self.moving and state.get("settings") != settings:
            step, tails = state["step"], _tails(group, state["step"])
            if step:
                self.catch_up(table, torch.arange(len(table), device="cpu"))
                decays = state["tails"].decays(step - state["seen"].numpy())
                for name, decay in zip(("mean", "square"), torch.from_numpy(decays).to(table)):
                    state[name].mul_(decay[:, None])
            state["tails"], state["start"] = tails, step
            state["seen"] = torch.full((len(table),), step, dtype=torch.int64, device="cpu")
            state["last"] = state["seen"].clone()
        state["settings"] = settings
        state["step"] += 1

    def _catch_up(self, table: Tensor, rows: Tensor) -> None:
        state, index = self.state[table], rows.numpy()
        step, past = state["step"], state["settings"]
        if len(index) and not 0 <= index.min() <= index.max() < len(table):
            raise IndexError(f"The rows must be in [0, {len(table)}). Got {index.min()} to {index.max()}.")
        last, seen = state["last"].numpy(), state["seen"].numpy()
        found = state["tails"].coefficients(seen[index], last[index], step, past["eps"])
        _native.adam_catch_up(
            table,
            state["mean"],
            state["square"],
            rows,
            coefficients=torch.from_numpy(np.ascontiguousarray(found)),
            last=state["last"],
            step=step,
            rate=past["lr"],
        )
        increment_version(table)

    def _step(self, table: Tensor, rows: Tensor, g: Tensor) -> None:
        state, index = self.state[table], rows.numpy()
        step, now = state["step"], state["settings"]
        beta1, beta2 = now["betas"]
        decays = np.broadcast_to(np.array([[beta1], [beta2]]), (2, len(rows)))
        if self.moving:
            seen, last = state["seen"].numpy(), state["last"].numpy()
            decays = state["tails"].decays(step - seen[index])
            seen[index] = last[index] = step
        root = (1 - beta2**step) ** 0.5
        rate, kept = now["lr"] * root / (1 - beta1**step), 1 - now["lr"] * now["weight_decay"]
        _native.adam_step(
            table,
            state["mean"],
            state["square"],
            rows,
            gradient=g,
            decays=torch.from_numpy(np.array(decays)),
            beta1=beta1,
            beta2=beta2,
            eps=now["eps"] * root,
            rate=rate,
            kept=kept,
        )
        increment_version(table)


def _tails(group: dict[str, Any], start: int = 0) -> Tails:
    return Tails(group["betas"], 1 - group["lr"] * group["weight_decay"], start)


def coalesced(grad: Tensor) -> Tensor:
    """`grad`, sparse in its rows, with each row once. Rows in order, as `Stack.embedded` looks them up, are told so."""
    rows = grad._indices()[0]
    if not grad.is_coalesced() and bool((rows[1:] > rows[:-1]).all()):
        return grad._coalesced_(True)
    return grad.coalesce()


def clip_gradients(parameters: Iterable[Tensor], limit: float | None, value: float | None = None) -> float:
    """Bring every gradient's numbers into [-value, value], then scale all so that their joint norm is at most `limit`.

    None: no such limit. Returns the joint norm before. Where that is not finite, nothing is changed.
    """
    grads = []
    for parameter in parameters:
        if parameter.grad is not None:
            if parameter.grad.is_sparse:
                parameter.grad = coalesced(parameter.grad)
                grads.append(parameter.grad._values())
            else:
                grads.append(parameter.grad)
    before = norm = _joint_norm(grads)
    if not math.isfinite(before):
        return before
    if value is not None and grads:
        torch._foreach_clamp_max_(grads, value)
        torch._foreach_clamp_min_(grads, -value)
        norm = before if limit is None else _joint_norm(grads)
    if limit is not None and norm > limit:
        torch._foreach_mul_(grads, limit / norm)
    return before


def _joint_norm(grads: list[Tensor]) -> float:
    # Half the time of linalg.vector_norm.
    return (
        float(torch.stack([torch.dot(g, g) for g in (g.reshape(-1) for g in grads)]).sum().sqrt())
        if grads
        else 0.0
    )

"""A padded tensor, a PackedSequence or a Ragged in; the same kind out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Proxy
from torch.masked import MaskedTensor
from torch.nn.utils.rnn import PackedSequence

from unspool.arrays import innermost
from unspool.errors import DataError, EngineError, InputError, described
from unspool.ragged import Ragged


def as_leaf(module: nn.Module, x: Any, state: Any) -> Any | None:
    """Where torch.fx writes down a graph, the call of `module` as one node of it, as those of torch.nn's layers are;
    else None. `EngineError` where `module` is all that is traced."""
    if not isinstance(x, Proxy):
        return None
    path = x.tracer.path_of_module(module)  # type: ignore[attr-defined]
    if not path:
        raise EngineError(
            f"torch.fx cannot see through the engine. Trace a module that holds the {type(module).__name__}, which is "
            "then one node of the graph."
        )
    return x.tracer.create_proxy("call_module", path, (x,) if state is None else (x, state), {})


def to_ragged(x: Any, batch_first: bool, owner: str) -> tuple[Ragged, Callable[[Ragged], Any], bool]:
    """(sequences, what turns an output into the kind of `x`, whether `x` had a batch axis).

    A tensor without steps is a batch of empty sequences, which keep their state. An output lies in the order of its
    axes, so that `output.view(T * B, H)` holds as in torch.
    """
    if isinstance(x, Ragged):
        check_layout(x.values, "input", owner)
        return x, lambda output: output, True
    if isinstance(x, PackedSequence):
        check_layout(x.data, "input", owner)
        return Ragged.from_packed(x), lambda output: output.to_packed(like=x), True
    if isinstance(x, Tensor):
        check_layout(x, "input", owner)
    if isinstance(x, Tensor) and x.dim() in (2, 3):
        batched = x if x.dim() == 3 else x.unsqueeze(0 if batch_first else 1)
        if not batch_first:
            batched = batched.transpose(0, 1)
        batch, time = batched.shape[:2]
        if time:
            offsets = torch.arange(0, batch * time + 1, time, dtype=torch.int64, device="cpu")
        else:
            offsets = torch.zeros(batch + 1, dtype=torch.int64, device="cpu")

        def restore(output: Ragged) -> Tensor:
            padded = output.values.reshape(batch, time, output.values.shape[-1])
            if x.dim() == 2:
                return padded[0]
            return padded if batch_first else padded.transpose(0, 1).contiguous()

        return Ragged._of(batched.reshape(batch * time, x.shape[-1]), offsets), restore, x.dim() == 3
    raise DataError(
        f"The input of {owner} must be a Ragged, a PackedSequence or a tensor of 3 axes (2 if unbatched). "
        f"Got {described(x)}. Build one with unspool.Ragged.from_list or .from_padded."
    )


def check_layout(tensor: Tensor, what: str, owner: str) -> None:
    """Raises `InputError` unless the numbers of `tensor` lie in memory one by one."""
    if not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active():
        tensor = innermost(tensor)  # what wraps it is strided
    if isinstance(tensor, MaskedTensor):
        raise InputError(
            f"The {what} of {owner} must not be a MaskedTensor. Build a Ragged with "
            "unspool.Ragged.from_padded(x.get_data(), mask=x.get_mask().all(-1))."
        )
    if tensor.is_nested:
        raise InputError(
            f"The {what} of {owner} must not be a nested tensor. Build a Ragged with unspool.Ragged.from_nested."
        )
    if tensor.layout is not torch.strided:
        raise InputError(
            f"The {what} of {owner} must have the layout torch.strided. Got {tensor.layout}. "
            "Convert it with .to_dense()."
        )
    if tensor.is_quantized:
        raise InputError(
            f"The {what} of {owner} must not be quantized. Got {tensor.dtype}. Convert it with .dequantize()."
        )


def check_can_freeze(layer: nn.Module) -> None:
    """`check_layout` of every weight. Raises `EngineError` where a hook computes one at each call."""
    for name, weight in layer.named_parameters():
        check_layout(weight, f"weight {name!r}", type(layer).__name__)
    for module in layer.modules():
        for name, value in vars(module).items():
            made_of = [f"{name}_orig", f"{name}_g"]
            if isinstance(value, Tensor) and any(other in module._parameters for other in made_of):
                raise EngineError(
                    f"Only weights that are there can be frozen. '{name}' of {type(module).__name__} is computed by a "
                    "hook at each call. Make it one first: torch.nn.utils.prune.remove, remove_weight_norm or "
                    "remove_spectral_norm. Those of torch.nn.utils.parametrizations can be frozen as they are."
                )

"""What a step asks of a tensor beside its numbers, and what it sets: seen as torch is asked, by whatever name."""

from __future__ import annotations

import sys
from types import FrameType, FunctionType
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.overrides import TorchFunctionMode, handle_torch_function

from unspool.program.origins import leaves
from unspool.program.owners import OWN, owner_of_file

if TYPE_CHECKING:
    from unspool.program.watch import Watch

# What has one answer in every call that a program runs, or is compared at each.
_SIZES = frozenset(
    "shape size dim ndim ndimension numel nelement __len__ itemsize nbytes element_size get_device is_same_size "
    "dtype device layout type name is_floating_point is_complex is_signed is_cuda is_cpu is_mps is_xpu is_mtia is_hpu "
    "is_ipu is_maia is_vulkan is_mkldnn is_sparse is_sparse_csr is_quantized is_nested is_tensor result_type can_cast "
    "promote_types broadcast_shapes".split()
)
# Numbers out of a tensor: the tracer, which knows whose they are, has a reason of its own.
_TRACED = frozenset(
    "item __bool__ __float__ __int__ __index__ __complex__ __contains__ is_nonzero __iter__ unbind".split()
)
_OF_GRADIENTS = ("grad", "_grad", "_base")  # tensors, or None
_NUMBERS = {"tolist": "with 'tolist'", "numpy": "with 'numpy'", "data_ptr": "with 'data_ptr'"}
_NUMBERS.update(dict.fromkeys(["__repr__", "__str__", "__format__"], "as text"))
_NUMBERS.update(dict.fromkeys(["__array__", "__dlpack__", "__dlpack_device__"], "as an array"))
# What acts on a tensor, or on its gradient, past the operations that are written down.
_ACTS = dict.fromkeys("retain_grad share_memory_ rename_ set_ resize_ resize_as_".split(), "changes a tensor")
_ACTS |= dict.fromkeys(["register_hook", "register_post_accumulate_grad_hook"], "hooks on a gradient")
_ACTS |= {
    "detach_": "stops a gradient in place",
    "backward": "computes gradients",
    "requires_grad_": "changes whether gradients are recorded",
}


class Facts(TorchFunctionMode):
    """`with watch, Facts(watch): cell(x, state)`: tells the watch what the step asks of tensors.

    Torch's own code may ask and do what it likes, but with gradients and other things of the cell's own tensors.
    """

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self.watch = watch
        # Torch looks what it calls in here up by name: what somebody put in its place runs twice, and the numbers that
        # come out are no use.
        self.replaced = False
        self.cells = {id(tensor) for tensor in (*watch.cell.parameters(), *watch.cell.buffers())}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, of_property = _name(func)
        if isinstance(func, FunctionType) and owner_of_file(func.__code__.co_filename) == OWN:
            self.replaced = True
        sets = of_property in ("__set__", "__delete__")
        if (sets or name in _ACTS) and self._is_the_steps(sys._getframe(1), name, args):
            self.watch.refuse(f"sets '{name}' of a tensor" if sets else f"{_ACTS[name]} with '{name}'")
        result = func(*args, **(kwargs or {}))
        if name in _TRACED or result is NotImplemented or (result is None and not of_property):
            return result
        parts = leaves(result)
        of_tensors = (
            bool(parts) and result is not None and all(p is None or isinstance(p, Tensor) for p in parts)
        )
        if of_tensors and name not in _OF_GRADIENTS:
            return result
        if self._is_the_steps(sys._getframe(1), name, args if name == "grad" else ()):
            if name in _SIZES:
                self.watch.sizes = True
            else:
                what = f"a tensor's numbers {_NUMBERS[name]}" if name in _NUMBERS else f"'{name}' of a tensor"
                self.watch.say(f"reads {what}, which a program would read once")
        return result

    def _is_the_steps(self, frame: FrameType | None, name: str, args: Any) -> bool:
        """Whether the step asks, or torch's code does it with a tensor of the cell's, the first of args."""
        if self.watch.handling is not None:
            return False
        follows = self.watch.follows
        if frame is not None and frame.f_code is handle_torch_function.__code__:  # of a function in Python
            frame = frame.f_back and frame.f_back.f_back
        while frame is not None and frame.f_code.co_name == name and not follows(frame):  # of a subclass
            frame = frame.f_back
        return follows(frame) or (bool(args) and id(args[0]) in self.cells)


def _name(func: Any) -> tuple[str, str]:
    """The name that torch was asked by, and how: a property's `__get__`, `__set__` or `__delete__`, or nothing."""
    name, of = getattr(func, "__name__", ""), getattr(func, "__self__", None)
    if name not in ("__get__", "__set__", "__delete__"):
        return name, ""
    return getattr(of, "__name__", "") or getattr(getattr(of, "fget", None), "__name__", ""), name

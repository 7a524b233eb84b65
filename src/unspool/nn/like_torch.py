"""A layer as torch.nn's own, for code that asks: `isinstance`, checks of arguments, quantisation."""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch._guards import CompileContext

from unspool.errors import EngineError, InputError, warn_caller

_real_class: Any = object.__dict__["__class__"]


@cache
def _both(own: Any) -> type:
    """A class under `own` and under torch's: what an instance of `own` says that it is."""
    return type(own.__name__, (own, own.torch_class), {"__module__": own.__module__, "unspool_class": own})


def _seen_as(self: Any) -> type:
    own: Any = type(self)
    # torch.compile refuses whatever is a torch.nn.LSTM before it looks inside
    if issubclass(own, own.torch_class) or CompileContext.current_compile_id() is not None:
        return own
    return _both(own)


def _become(self: Any, new: type) -> None:
    """`torch.nn.utils.parametrize` puts a class under the one that it sees, and takes it away again."""
    _real_class.__set__(self, new.__dict__.get("unspool_class", new))


def _new(own: Any) -> Any:
    return own.__new__(own)


class SeenAsTorchs:
    """`isinstance(layer, torch.nn.LSTM)` holds by `layer.__class__`; the layer's type is no subclass of torch's."""

    torch_class: ClassVar[type]
    __class__ = property(_seen_as, _become)

    def __reduce_ex__(self: Any, protocol: Any) -> Any:
        """Pickled by its type: pickle compares with `__class__` what it would write itself."""
        own = type(self).__dict__.get("unspool_class", type(self))
        return _new, (own,), self.__getstate__()


class LikeTorch(SeenAsTorchs, nn.RNNBase):
    """torch.nn.RNNBase with its checks in our errors, which also are torch's kinds of error."""

    def __init__(self, mode: str, *args: Any, **kwargs: Any) -> None:
        nn.RNNBase.__init__(self, mode, *args, **kwargs)
        self.__class__ = type(self)

    def _init_flat_weights(self) -> None:
        super()._init_flat_weights()
        # torch.utils.swap_tensors refuses a tensor that is held weakly
        self._flat_weight_refs = [None] * len(self._flat_weights_names)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "qconfig":
            self._warn_of_quantisation(value)
        super().__setattr__(name, value)

    def _warn_of_quantisation(self, asked: Any) -> None:
        """torch.ao.quantization finds layers by their exact type, and marks each that it comes by with a 'qconfig'."""
        kind = type(self).__name__
        message = (
            f"torch.ao.quantization cannot quantise an unspool.nn.{kind}: it knows torch's own layers by their exact "
            "type. For prediction with int8 weights use layer.freeze('int8')."
        )
        if asked is not None:
            raise EngineError(message)
        warn_caller(f"{message} This layer stays as it is.")

    def check_input(self, input: Tensor, batch_sizes: Tensor | None) -> None:
        """Raises `InputError` where the input has another type, number of axes or features than the layer takes."""
        wanted = self.weight_dtype()
        if input.dtype != wanted and not torch._C._is_any_autocast_enabled():
            raise InputError(
                f"RNN input dtype ({input.dtype}) does not match weight dtype ({wanted}): input must have the type "
                f"{wanted}, got type {input.dtype}. "
                f"Convert input: input.to({wanted}), or convert model: model.to({input.dtype})"
            )
        self.check_features(input, 3 if batch_sizes is None else 2)

    def check_features(self, input: Tensor, axes: int) -> None:
        if input.dim() != axes:
            raise InputError(f"input must have {axes} dimensions, got {input.dim()}")
        if input.shape[-1] != self.input_size:
            raise InputError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {input.shape[-1]}"
            )

    def check_hidden_size(
        self, hx: Tensor, expected_hidden_size: tuple[int, ...], msg: str = "Expected hidden size {}, got {}"
    ) -> None:
        """Raises `InputError` where a part of the state has another shape."""
        if tuple(hx.shape) != tuple(expected_hidden_size):
            raise InputError(msg.format(tuple(expected_hidden_size), list(hx.shape)))

    def weight_dtype(self) -> torch.dtype:
        first: Any = self.weight_ih_l0
        return first.dtype

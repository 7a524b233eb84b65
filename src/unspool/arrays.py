"""Arrays as users have them - tensors, Arrow columns, any byte order - to NumPy's own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unspool.errors import DataError

MAPPED = (
    "The offsets must be the same wherever torch.vmap maps. Got some that it maps over. "
    "Map over the values alone, or give all sequences in one Ragged: they need no vmap."
)


def is_mapped(tensor: Tensor) -> bool:
    """Whether torch.vmap maps over `tensor`, so that it has no numbers of its own."""
    if torch.compiler.is_compiling():  # it does not look into these, and maps nothing over a Ragged's offsets
        return False
    inside = torch._C._functorch
    while inside.is_functorch_wrapped_tensor(tensor):
        if inside.is_batchedtensor(tensor):
            return True
        tensor = inside.get_unwrapped(tensor)
    return False


def numbers(tensor: Tensor) -> Any:
    """A list of them, also of what a transform of torch.func has wrapped: torch 2.8 has no `tolist` inside of one."""
    if torch.compiler.is_compiling() or not torch._C._are_functorch_transforms_active():
        return tensor.tolist()
    with torch._C._DisableFuncTorch():
        return innermost(tensor).tolist()


def innermost(tensor: Tensor) -> Tensor:
    """The tensor with numbers that transforms of torch.func have wrapped; to be looked at without them alone."""
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    with torch._C._DisableFuncTorch():  # of torch.func.functionalize: the numbers are inside
        return torch._from_functional_tensor(tensor) if torch._is_functional_tensor(tensor) else tensor


def native(array: np.ndarray) -> np.ndarray:
    """In a byte order and a float width that torch has; anything else as it is."""
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        return array.astype(np.float64)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def of_tensor(tensor: Tensor) -> np.ndarray:
    """A dense tensor of any device and dtype; float types that NumPy lacks become float32."""
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.layout != torch.strided or tensor.device.type == "meta":
        kind = "without numbers (meta)" if tensor.device.type == "meta" else f"of layout {tensor.layout}"
        raise DataError(f"Expected a dense tensor. Got one {kind}. Use .to_dense() first.")
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
    try:
        return tensor.numpy()
    except TypeError:
        return tensor.float().numpy()


def frame(X: Any) -> Any:
    """An Arrow table or record batch as a polars DataFrame; the rest as it is."""
    if hasattr(X, "column_names") and (hasattr(X, "__arrow_c_stream__") or hasattr(X, "__arrow_c_array__")):
        import polars as pl

        return pl.DataFrame(X)
    return X


def named_matrix(frame: Any) -> tuple[list[str], np.ndarray]:
    """(names, values (n, columns)) of a DataFrame of pandas or polars, whatever types its columns have."""
    names = [str(name) for name in frame.columns]
    return names, np.column_stack([np.asarray(frame[name].to_list()) for name in frame.columns])


def unwrapped(X: Any) -> Any:
    """Tensors and Arrow columns (pyarrow's, and whatever else speaks Arrow's interface) as arrays and lists; the rest
    as it is. `DataError` for masked arrays, whose masks NumPy forgets."""
    if isinstance(X, Tensor):
        return of_tensor(X)
    if isinstance(X, np.ma.MaskedArray):
        raise DataError(
            "Masked arrays are not read. Fill them first, .filled(...); sequences of uneven length are "
            "Ragged.from_padded(X.data, mask=~X.mask)."
        )
    arrow = hasattr(X, "__arrow_c_stream__") or hasattr(X, "__arrow_c_array__")
    if arrow and not (hasattr(X, "columns") or hasattr(X, "to_list")):
        import polars as pl

        return pl.Series(X).to_list()
    return native(X) if isinstance(X, np.ndarray) else X


def random_of(random_state: Any) -> np.random.RandomState:
    """scikit-learn's `check_random_state`, which also takes a `numpy.random.Generator`: a number drawn from it is the
    seed, so that each call moves it on. Seeds need not wait for scikit-learn's import."""
    if isinstance(random_state, np.random.Generator):
        random_state = int(random_state.integers(2**32))
    if isinstance(random_state, (int, np.integer)):
        return np.random.RandomState(random_state)
    from sklearn.utils import check_random_state

    return check_random_state(random_state)


def check_texts(texts: Iterable[str | None], where: str) -> None:
    """`DataError` for a text with half a character of two (a lone surrogate), which no file can hold."""
    for text in texts:
        try:
            (text or "").encode()
        except UnicodeEncodeError:
            raise DataError(
                f"{where} has {text!r}, which is not valid Unicode. Read the file as UTF-8."
            ) from None


def is_missing(value: Any) -> bool:
    """Whether it is None, NaN, NaT or the missing value of pandas."""
    if isinstance(value, (str, int)):  # soonest told: most labels
        return False
    return value is None or type(value).__name__ == "NAType" or (np.ndim(value) == 0 and bool(value != value))


def as_they_are(values: Any) -> np.ndarray:
    """An array; one of objects of a list that NumPy would change: texts and other values, or True and numbers, to one
    type, and texts that end in a zero character, which it leaves out."""
    array = np.asarray(values)
    if array.dtype.kind == "T":  # NumPy's texts of any length
        return array.astype(object)
    if array.ndim != 1 or not isinstance(values, (list, tuple)):
        return array
    kinds = {type(value) for value in values} if array.dtype.kind in "Uif" else set()
    if any(issubclass(kind, str) and kind not in (str, np.str_) for kind in kinds):
        # NumPy takes the name of a str that is an enumeration's member, cut to the length of its value.
        return as_they_are([str.__str__(value) if isinstance(value, str) else value for value in values])
    mixed = len(kinds) > 1 and (array.dtype.kind == "U" or bool in kinds)
    if mixed and array.dtype.kind == "U" and all(issubclass(kind, str) for kind in kinds):
        mixed = False
    cut = array.dtype.kind == "U" and any(value.endswith("\0") for value in values if isinstance(value, str))
    return np.array([*values, None], object)[:-1] if mixed or cut else array


def steps_tensor(x: Any, what: str = "The values") -> Tensor:
    """(T, ...): a tensor or array as it is; Python ints as int64, floats as float32.

    `DataError` for what is no sequence of numbers; `what` names it there."""
    if isinstance(x, Tensor):
        if x.dim() == 0:
            raise DataError(f"{what} must have a time axis. Got a single number.")
        return x
    try:
        array = np.asarray(x)
    except ValueError as error:
        raise DataError(f"{what} must be numbers, equally many at every step. {error}") from error
    if array.dtype.kind not in "iufb" or array.ndim == 0:
        raise DataError(f"{what} must be sequences of numbers. Got {array.dtype} of {array.ndim} axes.")
    if not isinstance(x, np.ndarray) and array.dtype == np.float64:
        array = array.astype(np.float32)
    array = native(array)
    return torch.from_numpy(array if array.flags.writeable and min(array.strides) >= 0 else array.copy())


def unlisted(series: Any) -> tuple[Any, np.ndarray | None]:
    """A polars list column -> (its elements, the length of each list); (the column, None) if not of lists."""
    import polars as pl

    if series.null_count():
        row = int(series.is_null().arg_true()[0])
        raise DataError(f"The column has {series.null_count()} nulls, the first at {row}. Drop or fill them.")
    if isinstance(series.dtype, pl.Array):
        series = series.arr.to_list()
    if not isinstance(series.dtype, pl.List):
        return series, None
    lengths = series.list.len()
    return series.filter(lengths > 0).explode(), lengths.cast(pl.Int64).to_numpy(writable=True)

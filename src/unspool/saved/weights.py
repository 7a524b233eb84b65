"""`weights.safetensors`: its header is read and compared before any weight is."""

from __future__ import annotations

import hashlib
import json
import math
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from torch import Tensor

from unspool.errors import ModelFileError
from unspool.saved.document import whole

MAX_HEADER = 16 * 2**20  # bytes; a header takes about 100 bytes a tensor
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I8": torch.int8,
}
FORMS = {"bfloat16": torch.bfloat16, "int8": torch.int8}  # of a file with narrow weights, see `narrow.py`
FIELD = "weights_form"  # of its document
SHORT = 16  # numbers of a row
SCALE = "::scale"  # after the name of an int8 tensor: that of its scales (rows,)


def to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """The safetensors form of named tensors of any shape and device."""
    return save_bytes({name: t.detach().cpu().clone().contiguous() for name, t in tensors.items()})


class Weights:
    """The weights of a saved model, not yet in memory: `shapes` first, `read` after they are found right.

    `stream` is open at its first byte and holds `size` bytes; `checksum` is their SHA-256. form: of narrow weights.
    """

    def __init__(self, stream: BinaryIO, size: int, checksum: str, form: str | None = None) -> None:
        self._stream, self._size, self._checksum, self._form = stream, size, checksum, form
        self._head, self.shapes = _read_header(stream, size)

    def read(self, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors, whose names, shapes and dtypes must be those of `expected` (meta tensors will do); narrow ones
        are widened."""
        full = {name: (t.dtype, tuple(t.shape)) for name, t in expected.items()}
        wanted = full if self._form is None else _narrow_shapes(full, self._form)
        for name in sorted(wanted.keys() | self.shapes.keys()):
            if name not in self.shapes:
                raise ModelFileError(f"the weights have no tensor {name!r}.")
            if name not in wanted:
                raise ModelFileError(f"the weights have a tensor {name!r} that the model does not.")
            if wanted[name] != self.shapes[name]:
                raise ModelFileError(
                    f"the tensor {name!r} must be {_shown(wanted[name])} by the settings in model.json. "
                    f"Got {_shown(self.shapes[name])}."
                )
        tensors = self.read_all()
        return tensors if self._form is None else _widened(tensors, full)

    def read_all(self) -> dict[str, Tensor]:
        """The tensors as the file has them."""
        data = self._head + _read(self._stream, self._size - len(self._head))
        if len(data) != self._size or hashlib.sha256(data).hexdigest() != self._checksum:
            raise ModelFileError(
                "weights.safetensors is damaged or of another model: its checksum does not match."
            )
        try:
            return load_bytes(data)
        except (SafetensorError, ValueError, RuntimeError, KeyError) as error:
            raise ModelFileError(f"weights.safetensors is not readable ({error}).") from error


Shape = tuple[torch.dtype, tuple[int, ...]]


def narrow_dtype(dtype: torch.dtype, shape: tuple[int, ...], form: str) -> torch.dtype:
    """Of a tensor in a file of this form: that of the form for float32 of two axes or more, else its own. Rows that are
    too short for a scale each are bfloat16 in int8's."""
    if dtype != torch.float32 or len(shape) < 2 or 0 in shape:
        return dtype
    return torch.bfloat16 if math.prod(shape[1:]) < SHORT else FORMS[form]


def _narrow_shapes(full: Mapping[str, Shape], form: str) -> dict[str, Shape]:
    """What a file of this form holds for tensors that are to be `full`."""
    found: dict[str, Shape] = {}
    for name, (dtype, shape) in full.items():
        found[name] = (narrow_dtype(dtype, shape, form), shape)
        if found[name][0] == torch.int8:
            found[name + SCALE] = (torch.float32, shape[:1])
    return found


def _widened(tensors: Mapping[str, Tensor], full: Mapping[str, Shape]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, (dtype, _) in full.items():
        tensor = tensors[name].to(dtype)
        if name + SCALE in tensors:
            tensor = tensor * tensors[name + SCALE].reshape(-1, *[1] * (tensor.dim() - 1))
        found[name] = tensor
    return found


def _shown(shape: Shape) -> str:
    return f"{str(shape[0]).removeprefix('torch.')} of shape {list(shape[1])}"


def _read(stream: BinaryIO, count: int) -> bytes:
    try:
        return stream.read(count)
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise ModelFileError(f"weights.safetensors cannot be read ({error}).") from error


def _read_header(stream: BinaryIO, size: int) -> tuple[bytes, dict[str, Shape]]:
    """(the bytes read, name -> dtype and shape); what the header declares must fill the file exactly."""
    first = _read(stream, 8)
    length = int.from_bytes(first, "little")
    if len(first) < 8 or length > min(MAX_HEADER, size - 8):
        raise ModelFileError("weights.safetensors is truncated, or not a safetensors file.")
    head = _read(stream, length)
    try:
        entries = json.loads(head.decode(), parse_int=whole)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"the header of weights.safetensors is not readable ({error}).") from error
    if not isinstance(entries, dict):
        raise ModelFileError("the header of weights.safetensors must be a JSON object.")
    entries.pop("__metadata__", None)
    shapes = {name: _read_entry(name, entry) for name, entry in entries.items()}
    declared = sum(dtype.itemsize * math.prod(shape) for dtype, shape in shapes.values())
    if declared != size - 8 - length:
        raise ModelFileError(
            f"weights.safetensors is truncated or damaged: its header declares {declared:,} bytes of "
            f"weights, the file holds {size - 8 - length:,}."
        )
    return first + head, shapes


def _read_entry(name: str, entry: Any) -> Shape:
    dtype = entry.get("dtype") if isinstance(entry, dict) else None
    shape = entry.get("shape") if isinstance(entry, dict) else None
    right = (
        isinstance(dtype, str)
        and isinstance(shape, list)
        and all(type(n) is int and 0 <= n < 2**40 for n in shape)
    )
    if not right or dtype not in _DTYPES or len(shape) > 8:  # type: ignore[arg-type]
        raise ModelFileError(f"the tensor {name!r} has no valid dtype and shape in weights.safetensors.")
    return _DTYPES[dtype], tuple(shape)  # type: ignore[arg-type]

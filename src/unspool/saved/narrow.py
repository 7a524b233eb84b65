"""Saved models with narrower weights: bfloat16, half the bytes, or int8, a quarter; float32 again once loaded."""

from __future__ import annotations

import os

import torch
from torch import Tensor

from unspool.errors import ModelFileError, check_choice
from unspool.saved.document import decode, encode
from unspool.saved.store import read_parts, write_parts
from unspool.saved.weights import FIELD, FORMS, SCALE, Weights, narrow_dtype, to_bytes


def shrink(source: str | os.PathLike[str], target: str | os.PathLike[str], weights: str = "int8") -> None:
    """Write the saved model `source`, of any class, to `target` with matrices in the form `weights`.

    weights: "bfloat16": rounded to 8 significant bits; "int8": each row, of the first axis, in whole steps from -127 to
    127 of its largest number / 127; rows of fewer than 16 numbers are bfloat16. Vectors, such as biases, stay float32,
    and so do tensors of float64 and int64.
    The model is unchanged otherwise, and loads as any other. Measure what it lost on data of your own.

    Raises `ModelFileError` where `source` cannot be read, is narrow already or holds infinite weights, or `target`
    cannot be written.
    """
    check_choice("shrink", "weights", weights, FORMS)
    name = os.path.expanduser(os.fspath(source))
    with read_parts(name) as (document, stream, size):
        fields, checksum = decode(document)
        if FIELD in fields.data:
            raise ModelFileError(
                f"{name!r} has weights of {fields.data[FIELD]} already. Start from the whole model."
            )
        tensors = Weights(stream, size, checksum).read_all()
    data = to_bytes({k: v for name, t in tensors.items() for k, v in _narrowed(name, t, weights).items()})
    head = ("checksums", "format", "format_version", "libraries")
    content = {key: value for key, value in fields.data.items() if key not in head}
    write_parts(target, encode({**content, FIELD: weights}, data), data)


def _narrowed(name: str, tensor: Tensor, form: str) -> dict[str, Tensor]:
    dtype = narrow_dtype(tensor.dtype, tuple(tensor.shape), form)
    if dtype == tensor.dtype:
        return {name: tensor}
    if not bool(tensor.isfinite().all()):
        raise ModelFileError(
            f"the tensor {name!r} holds numbers that are not finite, which have no narrow form."
        )
    if dtype == torch.bfloat16:
        return {name: tensor.bfloat16()}
    rows = tensor.flatten(1)
    scale = rows.abs().amax(1) / 127
    steps = (rows / scale.where(scale > 0, 1.0)[:, None]).round()
    return {name: steps.to(torch.int8).reshape(tensor.shape), name + SCALE: scale}

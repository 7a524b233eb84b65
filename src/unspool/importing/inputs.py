"""What an imported network reads: each input by its name, and how values of it become steps or rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unspool.errors import DataError, ModelFileError, bad_parameter, check_choice, check_int
from unspool.importing.signal import Signal
from unspool.importing.vectorizer import Vectorizer
from unspool.ragged import Ragged
from unspool.saved import Fields
from unspool.text import Tokenizer, pad_sequences

SIDES = ("pre", "post")
MAX_LENGTH = 100_000
MAX_FEATURES = 2**20


@dataclass(frozen=True)
class Padding:
    """Sequences brought to `maxlen` steps before the network sees them, as by `pad_sequences`; None: left as they are.

    padding, truncating: "pre" or "post": the side that is filled with `value`, or cut off.
    """

    maxlen: int | None = None
    padding: str = "pre"
    truncating: str = "pre"
    value: float = 0.0

    def __post_init__(self) -> None:
        if self.maxlen is not None:
            check_int("Padding", "maxlen", self.maxlen)
            if self.maxlen > MAX_LENGTH:
                bad_parameter("Padding", "maxlen", f"{MAX_LENGTH:,} at most", self.maxlen)
        check_choice("Padding", "padding", self.padding, SIDES)
        check_choice("Padding", "truncating", self.truncating, SIDES)


@dataclass(frozen=True)
class Input:
    """One input. kind: "ids": sequences of whole numbers; "series": sequences of steps of `features` numbers; "row":
    `features` numbers a sequence, without time.

    tokenizer: of ids, turns texts into them; None where there is none. padding: of sequences, see `Padding`.
    Raises `ModelFileError` for a tokenizer of anything but ids, and for numbers of features that cannot be.
    """

    name: str
    kind: str
    features: int | None = None
    tokenizer: Tokenizer | Vectorizer | None = None
    padding: Padding = field(default_factory=Padding)

    KINDS = ("ids", "series", "row")

    def __post_init__(self) -> None:
        if self.tokenizer is not None and self.kind != "ids":
            raise ModelFileError(
                f"a tokenizer is for a network that begins with an embedding; its input {self.name!r} is a {self.kind}."
            )
        if self.kind != "ids" and not (self.features and 1 <= self.features <= MAX_FEATURES):
            got = "none" if self.features is None else f"{self.features:,}"
            raise ModelFileError(f"a step must have 1 to {MAX_FEATURES:,} features. Got {got}.")

    def __str__(self) -> str:
        return {"ids": "ids", "series": f"series of {self.features} features"}.get(
            self.kind, f"rows of {self.features} numbers"
        )

    def zeros(self, length: int) -> Signal:
        """One sequence of `length` zeros, or one row."""
        if self.kind == "row":
            return Signal(torch.zeros(1, self.features or 0))
        ids = self.kind == "ids"
        values = torch.zeros(length, dtype=torch.int64) if ids else torch.zeros(length, self.features or 0)
        return Signal(values, torch.tensor([0, length]))

    # --- values of a user

    def encode(self, X: Any) -> Ragged | Tensor:
        """Texts, ids or series -> a Ragged, padded as `padding` says; rows -> (B, features) float32."""
        texts = isinstance(X, (list, tuple, np.ndarray)) and len(X) > 0 and all(isinstance(x, str) for x in X)
        if isinstance(X, str) or texts:
            X = self._ids_of(X)
        if self.kind == "row":
            return self._rows(X)
        if self.padding.maxlen is not None:
            X = self._padded(X, self.padding.maxlen)
        if isinstance(X, (np.ndarray, Tensor)):
            X = Ragged.from_padded(X)
        return self._checked(X if isinstance(X, Ragged) else Ragged.from_list(X))

    def _ids_of(self, texts: Any) -> list[list[int]]:
        if isinstance(texts, str):
            raise DataError("Expected a list of texts. Got one text; put it in a list.")
        if self.tokenizer is None:
            hint = " Import it with its tokenizer's JSON." if self.kind == "ids" else ""
            raise DataError(f"This network reads {self}. Got texts.{hint}")
        return self.tokenizer.texts_to_sequences(texts)

    def _rows(self, X: Any) -> Tensor:
        try:
            values = np.asarray(X, dtype=np.float32)
        except (ValueError, TypeError) as error:
            raise DataError(f"This network reads {self}: (B, {self.features}). {error}.") from error
        if values.ndim == 1 and (self.features == 1 or not len(values)):
            values = values.reshape(len(values), self.features or 0)
        if values.ndim != 2 or values.shape[1] != self.features:
            raise DataError(f"This network reads {self}: (B, {self.features}). Got {values.shape}.")
        return torch.tensor(values)

    def _padded(self, X: Any, maxlen: int) -> np.ndarray:
        rows = X.to_list() if isinstance(X, Ragged) else list(X)
        if maxlen == 1 and self.kind == "ids":  # a category a row
            rows = [[row] if np.ndim(row) == 0 else row for row in rows]
        if any(not hasattr(row, "__len__") for row in rows):
            raise DataError("Give a batch of sequences: a list of lists. Got one sequence.")
        p, ids = self.padding, self.kind == "ids"
        arrays = [np.asarray(row) for row in rows]
        if ids and any(a.dtype.kind not in "iu" for a in arrays if len(a)):
            raise DataError("Ids must be whole numbers.")
        if not rows:
            return np.zeros(
                (0, maxlen, *([] if ids else [self.features or 0])), "int64" if ids else "float32"
            )
        return pad_sequences(arrays, maxlen, "int64" if ids else "float32", p.padding, p.truncating, p.value)

    def _checked(self, batch: Ragged) -> Ragged:
        values = batch.values
        if self.kind == "ids":
            if not len(values):
                values = values.to(torch.int64).reshape(0)
            if values.dim() != 1 or values.is_floating_point() or values.dtype == torch.bool:
                raise DataError(
                    f"This network reads ids: whole numbers, one a step. Got {values.dtype} {tuple(values.shape)}."
                )
            return batch.with_values(values.to(torch.int64))
        features = self.features or 0
        if values.dim() == 1 and features == 1:
            values = values[:, None]
        if not len(values):
            values = values.reshape(0, features)
        if values.dim() != 2 or values.shape[1] != features:
            raise DataError(
                f"This network reads series of {features} features, (T, {features}) each. "
                f"Got steps of shape {tuple(values.shape[1:])}."
            )
        return batch.with_values(values.to(torch.float32))

    # --- telling, saving

    def summary(self) -> str:
        """How sequences of it are brought to one length; empty where they are not."""
        p = self.padding
        if p.maxlen is None:
            return ""
        return f"brought to {p.maxlen} steps: filled with {p.value:g} ({p.padding}), cut ({p.truncating})."

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        p = self.padding
        return {
            "name": self.name,
            "kind": self.kind,
            "features": self.features,
            "tokenizer": None if self.tokenizer is None else self.tokenizer.to_dict(),
            "padding": {
                "maxlen": p.maxlen,
                "padding": p.padding,
                "truncating": p.truncating,
                "value": p.value,
            },
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> Input:
        """What `to_dict` wrote; `ModelFileError` for anything else."""
        inner = fields.child("padding")
        padding = Padding(
            inner.optional("maxlen", int),
            inner.choice("padding", SIDES),
            inner.choice("truncating", SIDES),
            inner.get("value", float),
        )
        state = fields.optional("tokenizer", dict)
        tokenizer: Tokenizer | Vectorizer | None = None
        if state is not None and state.get("kind") == "vectorizer":
            tokenizer = Vectorizer.from_fields(fields.child("tokenizer"))
        elif state is not None:
            tokenizer = Tokenizer.from_dict(state)
        return cls(
            fields.get("name", str),
            fields.choice("kind", cls.KINDS),
            fields.optional("features", int),
            tokenizer,
            padding,
        )


def signal_of(part: Ragged | Tensor) -> Signal:
    """What `Input.encode` made, as the layers take it."""
    return Signal(part) if isinstance(part, Tensor) else Signal.of(part)

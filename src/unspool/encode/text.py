"""Texts to token ids."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

from unspool.encode.base import Input
from unspool.encode.reading import Raw
from unspool.ragged import Ragged
from unspool.saved.fields import Fields
from unspool.text import TextEncoder


class TextInput(Input):
    """Texts to token ids, by a `TextEncoder`."""

    kind: ClassVar[str] = "text"

    def __init__(self, encoder: TextEncoder) -> None:
        self.encoder = encoder

    @classmethod
    def new(cls, settings: Mapping[str, Any]) -> TextInput:
        return cls(TextEncoder(settings["max_words"], settings["level"]))

    def fit(self, raw: Raw) -> TextInput:
        self.encoder.fit(raw.data)
        return self

    def encode(self, raw: Raw, warn: bool = False) -> Ragged:
        """Ragged of (N,) ids; `warn` tells of texts without any known token."""
        ids = self.encoder.encode(raw.data)
        unknown = self.encoder.unknown_texts_
        if warn and unknown:
            level = "word" if self.encoder.level == "word" else "character"
            warnings.warn(
                f"{unknown} of {len(raw)} texts hold no {level} of the training texts: "
                "their predictions say nothing about them.",
                UserWarning,
                stacklevel=4,
            )
        return ids

    def decode(self, batch: Ragged) -> list[str]:
        return self.encoder.decode(batch)

    @property
    def vocabulary_size(self) -> int:  # type: ignore[override]
        """Words + 2, the rows of an embedding."""
        return self.encoder.vocabulary_size

    def describe(self) -> str:
        return f"texts by {self.encoder.level}, {self.vocabulary_size:,} tokens known"

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "encoder": self.encoder.to_dict()}

    @classmethod
    def from_fields(cls, fields: Fields) -> TextInput:
        return cls(TextEncoder.from_dict(fields.get("encoder", dict)))

"""Texts to token ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch

from unspool.encode import vectors
from unspool.encode.base import Input
from unspool.encode.characters import CharacterEncoder, beside_ids
from unspool.encode.cooccurrence import word_vectors
from unspool.encode.reading import Raw
from unspool.encode.vector_files import MAX_DIMENSIONS
from unspool.errors import ModelFileError, RowsWarning, warn_caller
from unspool.ragged import Ragged
from unspool.saved.fields import Fields
from unspool.text import Split, TextEncoder
from unspool.text.encoder import without_known
from unspool.text.scripts import unspaced_script

SMALL_VOCABULARY = 1000


class TextInput(Input):
    """Texts to token ids, by a `TextEncoder`."""

    kind: ClassVar[str] = "text"
    encoder_class: ClassVar[Any] = TextEncoder

    def __init__(
        self,
        encoder: Any,
        sources: Sequence[Any] = (),
        extra: int = 0,
        dimensions: int = 100,
        spelled: bool = False,
    ) -> None:
        """sources: of word vectors, see `unspool.encode.vectors`; "texts": of the training texts themselves, in
        `dimensions` numbers. extra: further words of the sources that are kept. spelled: characters beside the ids."""
        self.encoder, self.spelled = encoder, spelled
        self.characters: CharacterEncoder | None = None
        self.sources, self.extra, self.dimensions = list(sources), extra, dimensions
        self.given: np.ndarray | None = None
        self.trained, self.coverage = 0, 0.0

    @classmethod
    def new(cls, settings: Mapping[str, Any]) -> TextInput:
        sources = vectors.as_list(settings["vectors"])
        encoder = TextEncoder(settings["max_words"], settings["level"])
        spelled = settings["characters"] is not None
        return cls(encoder, sources, settings["vector_words"], settings["embedding_dim"], spelled)

    def fit(self, raw: Raw) -> TextInput:
        """Learn the vocabulary, and look up its vectors: `given` (V, E), the first `trained` rows of the training
        texts' words; coverage: the share of the training tokens that the sources have."""
        self.encoder.fit(raw.data)
        if self.spelled:
            self.characters = CharacterEncoder().fit(self._written(raw.data))
        script = unspaced_script(raw.data) if self.encoder.level == "word" else None
        if script is not None:
            warn_caller(
                f"The texts hold {script}, which is written without spaces: whole clauses are read as one word. Use "
                "level='char' (--level char), or put spaces between the words first.",
            )
        texts = vectors.TEXTS in self.sources and self._worth_counting()
        others = [source for source in self.sources if source != vectors.TEXTS]
        if not texts and not others:
            return self
        ids = self.encoder.encode(raw.data)
        self.trained = self.encoder.vocabulary_size
        tables = []
        if others:
            found = vectors.load(others, self.encoder.words, self.extra)
            counts = np.bincount(ids.values.numpy(), minlength=self.trained)[2:]
            self.coverage = float(counts[found.covered].sum() / max(1, len(ids.values)))
            self.encoder.know(found.words)
            tables.append(np.concatenate([np.zeros_like(found.table[:1]), found.mean[None], found.table]))
        if texts:
            own = word_vectors(ids, self.trained, self.dimensions)
            own *= vectors.RMS / max(float(np.sqrt(np.square(own[2:]).mean())), 1e-12)
            own[1] = own[2:].mean(0)
            rest = np.repeat(own[1:2], self.encoder.vocabulary_size - self.trained, 0)
            tables.append(np.concatenate([own, rest]))
        self.given = np.concatenate(tables, 1)
        self.dimensions = self.given.shape[1]
        return self

    def given_table(self) -> torch.Tensor:
        """`given` as a tensor, or zeros of its shape, to be loaded into."""
        if self.given is None:
            return torch.zeros(self.vocabulary_size, self.dimensions)
        return torch.from_numpy(self.given)

    def _worth_counting(self) -> bool:
        """Neighbours tell words apart, and need many of them; a small vocabulary is learnt as it is."""
        return self.encoder.level == "word" and self.encoder.vocabulary_size > SMALL_VOCABULARY

    def split(self, raw: Raw) -> Raw:
        """By words: a `unspool.text.Split` in place of the texts."""
        return replace(raw, data=self.encoder.split(raw.data)) if self.encoder.level == "word" else raw

    def encode(self, raw: Raw, warn: bool = False) -> Ragged:
        """Ragged of (N,) ids, or with characters, see `beside_ids`; `warn` tells of texts without any known token."""
        ids = self.encoder.encode(raw.data)
        unknown = self._unknown(ids) if warn else 0
        if unknown:
            level = "word" if self.encoder.level == "word" else "character"
            what = f"texts hold no {level} of the training texts: their predictions say nothing about them."
            warn_caller(RowsWarning(unknown, len(raw), what))
        if self.characters is None:
            return ids
        return ids.with_values(beside_ids(ids.values, self._written(raw.data), self.characters))

    def _unknown(self, ids: Ragged) -> int:
        """How many texts say nothing."""
        if self.characters is not None:
            return int((ids.lengths == 0).sum())
        return without_known(ids.values.numpy(), ids.offsets.numpy())

    def _written(self, texts: Any) -> list[str]:
        if isinstance(texts, Split):
            return texts.words()
        return [word for text in texts for word in self.encoder.tokens(text)]

    def decode(self, batch: Ragged) -> list[str]:
        return self.encoder.decode(
            batch if self.characters is None else batch.with_values(batch.values[:, 0])
        )

    @property
    def vocabulary_size(self) -> int:  # type: ignore[override]
        """Words + 2, the rows of an embedding."""
        return self.encoder.vocabulary_size

    def describe(self) -> str:
        known = f"texts by {self.encoder.level}, {self.vocabulary_size:,} tokens known"
        if not self.coverage:
            return known
        return f"{known}, vectors for {self.coverage:.1%} of the training texts' tokens"

    def to_dict(self) -> dict[str, Any]:
        own: dict[str, Any] = {"kind": self.kind, "encoder": self.encoder.to_dict()}
        if self.characters is not None:
            own["characters"] = self.characters.to_dict()
        if self.trained:
            own["vectors"] = {"trained": self.trained, "width": self.dimensions, "coverage": self.coverage}
        return own

    @classmethod
    def from_fields(cls, fields: Fields) -> Any:
        found = cls(cls.encoder_class.from_dict(fields.get("encoder", dict)))
        if "characters" in fields.data:
            found.characters = CharacterEncoder.from_fields(fields.child("characters"))
            if found.encoder.level == "char":
                raise ModelFileError("its characters are not those of words.")
        if "vectors" in fields.data:
            own = fields.child("vectors")
            found.trained, found.dimensions = own.get("trained", int), own.get("width", int)
            found.coverage = own.get("coverage", float)
            if not 2 < found.trained <= found.vocabulary_size or not 0 < found.dimensions <= MAX_DIMENSIONS:
                raise ModelFileError("the sizes of its word vectors do not fit its vocabulary.")
        return found

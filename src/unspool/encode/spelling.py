"""The characters of each word, beside its number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from unspool.ragged import Ragged
from unspool.text import TextEncoder

LONGEST = 20  # characters; of a longer word its first and its last ten


class Spelling:
    """Words to the numbers of their characters, learnt from the training texts; 1 is an unknown character."""

    def __init__(self, encoder: TextEncoder) -> None:
        self.encoder = encoder

    @classmethod
    def fit(cls, texts: Sequence[str], words: TextEncoder) -> Spelling:
        """The characters of `texts`, in the case in which `words` has them."""
        return cls(TextEncoder(level="char", lower=words.lower).fit(texts))

    @property
    def size(self) -> int:
        """The numbers are below it."""
        return self.encoder.vocabulary_size

    def beside(self, ids: Ragged, texts: Sequence[str], words: TextEncoder) -> Ragged:
        """ids (N,) of the words of `texts` -> (N, 1 + LONGEST) int32: each with its characters, then zeros."""
        written = [word for text in texts for word in words.tokens(text)]
        distinct = dict.fromkeys(written)
        shown = [w if len(w) <= LONGEST else w[: LONGEST // 2] + w[-LONGEST // 2 :] for w in distinct]
        letters = torch.zeros(len(shown), LONGEST, dtype=torch.int32)
        if shown:
            letters = self.encoder.encode(shown).to(torch.int32).to_padded(length=LONGEST)
        number = {word: i for i, word in enumerate(distinct)}
        place = torch.from_numpy(np.fromiter((number[w] for w in written), np.int64, len(written)))
        return ids.with_values(torch.cat([ids.values[:, None].to(torch.int32), letters[place]], 1))

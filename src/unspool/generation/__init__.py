"""Language models of characters, words or subwords: learning texts, measuring them, writing on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unspool.generation.choosing import Choice
from unspool.generation.ngram import KneserNey
from unspool.lazy import lazily

if TYPE_CHECKING:
    from unspool.generation.contract import SequenceGenerator

__all__ = ["Choice", "KneserNey", "SequenceGenerator"]

__getattr__ = lazily(__name__, {"SequenceGenerator": "unspool.generation.contract"})

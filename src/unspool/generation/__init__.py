"""Language models of characters, words or subwords: learning texts, measuring them, writing on."""

from __future__ import annotations

from unspool.generation.choosing import Choice
from unspool.generation.estimator import SequenceGenerator
from unspool.generation.ngram import KneserNey

__all__ = ["Choice", "KneserNey", "SequenceGenerator"]

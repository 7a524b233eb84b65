"""Sentences to tags: a recurrent network, a conditional random field, spans, and labels of whole sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unspool.evaluation.spans import Span, span_scores, spans, token_accuracy
from unspool.lazy import lazily
from unspool.tagging.files import Tagged, read_tagged

if TYPE_CHECKING:
    from unspool.tagging.contract import SequenceTagger

__all__ = ["SequenceTagger", "Span", "Tagged", "read_tagged", "span_scores", "spans", "token_accuracy"]

__getattr__ = lazily(__name__, {"SequenceTagger": "unspool.tagging.contract"})

"""Sentences to tags: a recurrent network, a conditional random field, spans, and labels of whole sentences."""

from unspool.evaluation.spans import Span, span_scores, spans, token_accuracy
from unspool.tagging.files import Tagged, read_tagged
from unspool.tagging.tagger import SequenceTagger

__all__ = ["SequenceTagger", "Span", "Tagged", "read_tagged", "span_scores", "spans", "token_accuracy"]

"""Sequence to sequence: texts to texts of other lengths, by an encoder and a decoder that attends to it."""

from __future__ import annotations

from unspool.seq2seq.attention import Attention, Memory
from unspool.seq2seq.beams import Beams, beam_search
from unspool.seq2seq.estimator import Seq2Seq
from unspool.seq2seq.network import EncoderDecoder

__all__ = ["Attention", "Beams", "EncoderDecoder", "Memory", "Seq2Seq", "beam_search"]

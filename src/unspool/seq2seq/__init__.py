"""Sequence to sequence: texts to texts of other lengths, by an encoder and a decoder that attends to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unspool.lazy import lazily
from unspool.seq2seq.attention import Attention, Memory
from unspool.seq2seq.beams import Beams, beam_search
from unspool.seq2seq.network import EncoderDecoder

if TYPE_CHECKING:
    from unspool.seq2seq.contract import Seq2Seq

__all__ = ["Attention", "Beams", "EncoderDecoder", "Memory", "Seq2Seq", "beam_search"]

__getattr__ = lazily(__name__, {"Seq2Seq": "unspool.seq2seq.contract"})

"""Text to numbers: the classic Keras `Tokenizer` and `pad_sequences`, and the encoder of the estimators."""

from __future__ import annotations

from unspool.text.encoder import TextEncoder
from unspool.text.padding import pad_sequences, unpad
from unspool.text.tokenizer import Tokenizer, text_to_word_sequence, tokenizer_from_json

__all__ = [
    "TextEncoder",
    "Tokenizer",
    "pad_sequences",
    "text_to_word_sequence",
    "tokenizer_from_json",
    "unpad",
]

"""Text to numbers: the classic preprocessing functions of Keras, and the encoder of the estimators."""

from __future__ import annotations

from unspool.text.encoder import TextEncoder
from unspool.text.hashing import hashing_trick, one_hot
from unspool.text.padding import pad_sequences, unpad
from unspool.text.skipgrams import make_sampling_table, skipgrams
from unspool.text.timeseries import TimeseriesGenerator, timeseries_generator_from_json
from unspool.text.tokenizer import Tokenizer, text_to_word_sequence, tokenizer_from_json
from unspool.text.words import Split

__all__ = [
    "Split",
    "TextEncoder",
    "TimeseriesGenerator",
    "Tokenizer",
    "hashing_trick",
    "make_sampling_table",
    "one_hot",
    "pad_sequences",
    "skipgrams",
    "text_to_word_sequence",
    "timeseries_generator_from_json",
    "tokenizer_from_json",
    "unpad",
]

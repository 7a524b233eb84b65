"""Recurrent layers: any cell over time, in one direction or both, in stacks; torch.nn's own three as drop-ins."""

from __future__ import annotations

from unspool.nn.cells import GRUCell, LSTMCell, RNNCell
from unspool.nn.characters import CharacterNet, WordsAndCharacters
from unspool.nn.drop_in import GRU, LSTM, RNN
from unspool.nn.recurrent import Recurrent, final_output
from unspool.nn.stack import Highway, Stack
from unspool.nn.state import chunks, detach, reset, select

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "CharacterNet",
    "GRUCell",
    "Highway",
    "LSTMCell",
    "RNNCell",
    "Recurrent",
    "Stack",
    "WordsAndCharacters",
    "chunks",
    "detach",
    "final_output",
    "reset",
    "select",
]

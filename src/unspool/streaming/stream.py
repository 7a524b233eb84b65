"""`Stream`: one sequence that comes bit by bit."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unspool.errors import DataError, ModelFileError
from unspool.state import unflatten
from unspool.streaming import states
from unspool.streaming.chain import Chain
from unspool.streaming.model import stream_model


class Stream:
    """A model and the state that it is in after what was pushed so far.

    model: a fitted `SequenceRegressor` or `SequenceClassifier`, whose outputs speak of all that came so far; a
        `SequenceTagger`, which answers at every step; or a `Recurrent`, `Stack`, `LSTM`, `GRU` or `RNN` of
        `unspool.nn`, whose outputs of the steps pushed it gives. It is taken as it is now, in evaluation: later changes
        of its weights are not seen.
    weights: the form of the weights in products, "float32", "bfloat16" or "int8", as of `Recurrent.freeze`.
    input_size: features a step, of layers whose cell does not say.

    However a sequence is cut into chunks, states and outputs have the same bits. Threads may share a stream: pushes
    come one after the other. Raises `DataError` for a model that reads sequences from their end, or as a whole.
    """

    def __init__(self, model: Any, weights: str = "float32", input_size: int | None = None) -> None:
        self.model = stream_model(model, weights, input_size)
        chain = self.model.chain
        self._run = chain.run if chain.native is None else chain.native.run
        self._lock = threading.Lock()
        self._slot = torch.zeros(1, dtype=torch.int64)
        self._one = torch.tensor([0, 1])
        self._x, self._out = torch.zeros(1, chain.input_size), torch.zeros(1, chain.output_size)
        self._x_array, self._out_array = self._x.numpy(), self._out.numpy()
        self._x_row, self._out_row = self._x_array[0], self._out_array[0]
        self._write, self._say = self.model.feed.write, self.model.answers
        self._rows, self._steps = chain.start()[None].clone(), torch.tensor([chain.opened_steps])
        self._held = ""

    def push(self, chunk: Any) -> Any:
        """What the model says after `chunk`, which follows all that was pushed before.

        chunk: of layers a step (F,) or a chunk (T, F), giving (H,) or (T, H); of an estimator what one sequence of its
        X is, whole or in part, or one step of it: a str cut anywhere, ids (T,) or one id, a series (T, F) or a step
        (F,). The answer is that of `predict` for one sequence; of a tagger the tags of the tokens pushed. Tensors of
        layers are answered by tensors, all else by arrays. Raises `DataError` for a chunk that cannot be read; the
        state is then what it was.
        """
        with self._lock:
            if type(chunk) is np.ndarray and self._write(chunk, self._x_row):
                self._run(self._rows, self._steps, self._slot, self._one, self._x, None, self._out, 1)
                return self._out_row.copy() if self._say is None else self._say(self._out_array)[0]
            read, held, single = self.model.feed.read(chunk, self._held)
            answer = self._advance(read, held, single)
        return torch.from_numpy(answer) if self._say is None and isinstance(chunk, Tensor) else answer

    def finish(self) -> Any:
        """What the model says now that the sequence ends: a token of a text that was held back is read too.

        Nothing else changes: what is pushed afterwards follows on, as after a space.
        """
        with self._lock:
            return self._advance(self.model.feed.finish(self._held), "", False)

    def _advance(self, read: Tensor, held: str, single: bool) -> Any:
        chain = self.model.chain
        out = torch.empty(len(read) if chain.every else 1, chain.output_size)
        x, index = self.model.source(read)
        self._run(self._rows, self._steps, self._slot, torch.tensor([0, len(read)]), x, index, out, 1)
        self._held, self._out[:] = held, out[-1] if len(out) else self._out[0]
        answers = self.model.say(out.numpy())
        return answers[0] if single or not chain.every else answers

    @property
    def outputs(self) -> np.ndarray:
        """(output size,) float32: the last outputs of the network, before they are made an answer."""
        with self._lock:
            return self._out_row.copy()

    def columns(self) -> dict[str, Any]:
        """The last answer as a row of a table has it: of a classifier also the probability of each class.

        Raises `DataError` for layers, which have none.
        """
        if self.model.columns is None:
            raise DataError("Layers have no columns. Use what push returns.")
        return {name: column[0] for name, column in self.model.columns(self.outputs[None]).items()}

    @property
    def steps(self) -> int:
        """How many steps were read: tokens, or rows of a series; of a language model also the mark before the text."""
        return int(self._steps[0])

    @property
    def state(self) -> list[Any]:
        """The state of each recurrent layer, of one row, as its cell has it: copies."""
        with self._lock:
            return layer_states(self.model.chain, self._rows[0])

    def reset(self) -> Stream:
        """Start anew; returns self."""
        with self._lock:
            self._rows[0] = self.model.chain.start()
            self._steps[0], self._held = self.model.chain.opened_steps, ""
            self._out.zero_()
        return self

    def fork(self) -> Stream:
        """Another stream of the same model in the same state; what is pushed into one does not change the other."""
        twin = Stream(self.model)
        with self._lock:
            for mine, its in ((self._rows, twin._rows), (self._steps, twin._steps), (self._out, twin._out)):
                its.copy_(mine)
            twin._held = self._held
        return twin

    def save(self) -> bytes:
        """The state as bytes, for `load` of a stream or a pool of the same model, on any machine."""
        with self._lock:
            state = states.SessionState(self._rows[0].numpy().copy(), int(self._steps[0]), self._held)
        return states.to_bytes(state, self.model.digest)

    def load(self, data: bytes) -> Stream:
        """Go on from a saved state; returns self.

        Raises `ModelFileError` for bytes that are damaged, or the state of another model; nothing has changed then.
        """
        state = read_state(self.model, data)
        chain = self.model.chain
        with self._lock:
            self._rows[0] = torch.from_numpy(state.row)
            self._steps[0], self._held = state.steps, state.held
            self._out[0] = 0.0 if chain.every else self._rows[0, chain.width :]
        return self


def read_state(model: Any, data: bytes) -> states.SessionState:
    """A saved state of this model; `ModelFileError` for anything else."""
    state = states.from_bytes(data, model.digest, model.chain.row)
    check_held(model, state)
    return state


def check_held(model: Any, state: states.SessionState) -> None:
    """`ModelFileError` for a state whose text its model would not have held back."""
    try:
        model.feed.check_held(state.held)
    except DataError as error:
        raise ModelFileError(f"The state of a stream does not hold. {error}") from error


def layer_states(chain: Chain, row: Tensor) -> list[Any]:
    """The states of the recurrent layers in a session's row."""
    found = []
    for link in (link for link in chain.links if link.layer):
        places = [(spot[1], width) for spot, width in zip(link.before, link.widths)]
        found.append(unflatten(link.like, [row[at : at + width].clone()[None] for at, width in places]))
    return found

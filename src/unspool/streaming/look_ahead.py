"""`LookAheadStream`: a sequence that comes bit by bit, through a model that sees some steps ahead."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unspool.errors import DataError
from unspool.streaming import lanes, states
from unspool.streaming.model import AheadModel, ahead_model
from unspool.streaming.stream import check_held

THREADS = 1  # a sequence alone has no use for more


class LookAheadStream:
    """A bidirectional model and the state that it is in after what was pushed so far.

    model, weights, input_size: as of `Stream`; look_ahead: A, steps, 0 or more.

    The rule: in each layer, at step t, the backward direction has seen steps t to min(t + A, T - 1) of the layer's
    input, from its initial state, and nothing else; T are the steps of the sequence. The forward direction has seen
    steps 0 to t, as always. So a sequence of at most A + 1 steps has the bits of the whole, and any chunking
    has the same bits.

    Of layers and a `SequenceTagger` the outputs of step t come once A * L later steps are there, L being the layers
    with a backward direction, and those of the last steps at `finish`. A `SequenceRegressor` or `SequenceClassifier`
    answers at every push for the steps so far, as if the sequence ended there; "last" of its pooling is, of the
    backward direction, the state at step 0, which has seen A steps ahead.

    Each step costs A + 1 steps of each backward direction, and each such answer up to A * L outputs that are computed
    anew. A session keeps A inputs of each such layer. Threads may share a stream. Raises `DataError` for a model that
    has no backward direction, or reads sequences as a whole otherwise.
    """

    def __init__(
        self, model: Any, look_ahead: int, weights: str = "float32", input_size: int | None = None
    ) -> None:
        self.model = ahead_model(model, look_ahead, weights, input_size)
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._places, self._held, self._ended = lanes.start(self.model), "", False
        self._out = np.zeros(self.model.chain.output_size, np.float32)

    @property
    def look_ahead(self) -> int:
        """Steps."""
        return self.model.look_ahead

    def push(self, chunk: Any) -> Any:
        """What the model says after `chunk`, which is as of `Stream.push`.

        Of layers and taggers the outputs of the steps that are complete now, in order: none, one or several, (k, H) or
        k tags, also where one step was pushed. Otherwise the answer for all steps so far. Raises `DataError` for a
        chunk that cannot be read, and after `finish` of layers and taggers; the state is then what it was.
        """
        with self._lock:
            if self._ended:
                raise DataError("The stream has ended: its last steps were answered. Call reset() first.")
            read, held, _ = self.model.feed.read(chunk, self._held)
            return self._advance(read, held, isinstance(chunk, Tensor))

    def finish(self) -> Any:
        """What the model says now that the sequence ends: the outputs of all steps that waited, and a token of a text
        that was held back is read. Streams of layers and taggers take nothing more until `reset`."""
        with self._lock:
            if self._ended:
                raise DataError("The stream has ended already. Call reset() first.")
            return self._advance(self.model.feed.finish(self._held), "", False, True)

    def _advance(self, read: Tensor, held: str, tensors: bool, ends: bool = False) -> Any:
        model, every = self.model, self.model.chain.every
        x = model.given(read)
        out, _, places = lanes.advance(model, self._places, x, np.array([len(x)]), THREADS, ends and every)
        if not every:
            out = lanes.answer(model, places, THREADS)
        self._places, self._held, self._ended = places, held, ends and every
        if len(out):
            self._out = out[-1].numpy().copy()
        answers = model.say(out.numpy())
        if not every:
            return answers[0]
        return torch.from_numpy(answers) if tensors and model.answers is None else answers

    @property
    def outputs(self) -> np.ndarray:
        """(output size,) float32: the last outputs of the network, before they are made an answer."""
        with self._lock:
            return self._out.copy()

    def columns(self) -> dict[str, Any]:
        """As `Stream.columns`."""
        if self.model.columns is None:
            raise DataError("Layers have no columns. Use what push returns.")
        return {name: column[0] for name, column in self.model.columns(self.outputs[None]).items()}

    @property
    def steps(self) -> int:
        """How many steps were read: tokens, or rows of a series."""
        return int(self._places.steps[0])

    @property
    def waiting(self) -> int:
        """How many of them wait for steps to come."""
        return 0 if self._ended else self.steps - int(lanes.done_of(self.model, self._places.steps)[0])

    @property
    def held(self) -> str:
        """The beginning of a token of a text that has not ended."""
        return self._held

    def reset(self) -> LookAheadStream:
        """Start anew; returns self."""
        with self._lock:
            self._begin()
        return self

    def fork(self) -> LookAheadStream:
        """Another stream of the same model in the same state; what is pushed into one does not change the other."""
        twin = LookAheadStream(self.model, self.look_ahead)
        with self._lock:
            twin._places, twin._held, twin._ended = self._places, self._held, self._ended
            twin._out = self._out.copy()
        return twin

    def save(self) -> bytes:
        """The state as bytes, for `load` of a stream of the same model and look-ahead, on any machine. `DataError` for
        an ended one, which has none."""
        with self._lock:
            places, held, ended = self._places, self._held, self._ended
        if ended:
            raise DataError("The stream has ended: there is no state to go on from.")
        return to_bytes(self.model, places, held)

    def load(self, data: bytes) -> LookAheadStream:
        """Go on from a saved state; returns self. Raises as `Stream.load`."""
        places, held = from_bytes(self.model, data)
        out = np.zeros(self.model.chain.output_size, np.float32)
        if not self.model.chain.every:
            out = lanes.answer(self.model, places, THREADS)[0].numpy()
        with self._lock:
            self._places, self._held, self._ended, self._out = places, held, False, out
        return self


def to_bytes(model: AheadModel, places: lanes.Places, held: str) -> bytes:
    """Of one sequence, as `LookAheadStream.save`."""
    state = states.SessionState(lanes.to_row(model, places).numpy(), int(places.steps[0]), held)
    return states.to_bytes(state, model.digest)


def from_bytes(model: AheadModel, data: bytes) -> tuple[lanes.Places, str]:
    """(what `to_bytes` made bytes of, the text that was held); `ModelFileError` for anything else."""
    state = states.from_bytes(data, model.digest, lambda steps: lanes.row_size(model, steps))
    check_held(model, state)
    return lanes.from_row(model, torch.from_numpy(state.row), state.steps), state.held

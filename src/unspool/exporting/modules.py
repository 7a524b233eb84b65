"""A layer or a stack as a whole graph, and the batches that it is checked on."""

from __future__ import annotations

import contextlib
import copy
import json
import warnings
from typing import Any

import numpy as np
import torch

from unspool.errors import DataError, SlowPathWarning
from unspool.exporting.checking import SHAPES, Case, lengths_for
from unspool.exporting.graph import FLOAT, INT64, Graph
from unspool.exporting.layers import DropIn, input_size_of
from unspool.exporting.stack import Layers
from unspool.exporting.time import Lengths
from unspool.nn import Recurrent
from unspool.ragged import Ragged
from unspool.state import flatten, unflatten


class ModuleGraph:
    """inputs x, lengths (with one_step: x alone), states; outputs `output`, states.

    module: a `Recurrent`, a `Stack` or a drop-in. x is (B, T, F), or (T, B, F) for a layer with batch_first=False.
    initial_state: the state that sequences start from is an input; else it is the layer's own.
    """

    notes: tuple[str, ...] = ()
    tokenizer: str | None = None

    def __init__(self, module: Any, input_size: int | None, one_step: bool, initial_state: bool) -> None:
        self.module = copy.deepcopy(module).cpu().eval()
        self.input_size = input_size_of(module, input_size)
        self.one_step, self.initial_state = one_step, initial_state or one_step
        self.batch_first = getattr(module, "batch_first", True)
        self.layers = Layers(self.module, self.input_size)
        self.stacked = isinstance(module, DropIn)
        self.graph = Graph()
        self._build()

    def _build(self) -> None:
        g = self.graph
        if self.one_step:
            x = g.input("x", FLOAT, ["batch", self.input_size])
            output, finals = self.layers.one_step(g, x, self._states_in())
            g.output("output", output, FLOAT, ["batch", self.layers.layers[-1].output_size])
            self._states_out(finals)
            return
        axes = ["batch", "time"] if self.batch_first else ["time", "batch"]
        x = g.input("x", FLOAT, [*axes, self.input_size])
        given = g.input("lengths", INT64, ["batch"])
        turned = g.op("Transpose", x, perm=[1, 0, 2]) if self.batch_first else x
        lengths = Lengths(g, turned, given)
        parts = self._states_in() if self.initial_state else self.layers.own_start(g, lengths.batch)
        outputs, finals = self.layers.over_time(g, turned, parts, lengths)
        last = self.layers.layers[-1]
        widths = [last.output_size] if last.merge is not None else [w[0] for w in last.widths]
        for name, output, width in zip(self.output_names(), outputs, widths):
            back = g.op("Transpose", output, perm=[1, 0, 2]) if self.batch_first else output
            g.output(name, back, FLOAT, [*axes, width])
        self._states_out(finals)

    def output_names(self) -> list[str]:
        """One, or two for merge=None."""
        last = self.layers.layers[-1]
        two = last.merge is None and len(last.directions) > 1 and not self.one_step
        return ["output", "output_reverse"] if two else ["output"]

    # --- states: a part each by its name, or of a drop-in stacked over layers and directions as torch has them

    def _kinds(self) -> list[tuple[str, list[int]]]:
        """(name, the places of its parts) of each stacked state."""
        kinds = sorted({name[0] for name in self.layers.names}, key="hc".index)
        return [(kind, [i for i, name in enumerate(self.layers.names) if name[0] == kind]) for kind in kinds]

    def _states_in(self) -> list[Any]:
        g, widths = self.graph, self.layers.widths
        if not self.stacked:
            named = zip(self.layers.names, widths)
            return [g.input(f"initial_{name}", FLOAT, ["batch", width]) for name, width in named]
        parts: dict[int, Any] = {}
        for kind, places in self._kinds():
            state = g.input(f"{kind}_0", FLOAT, [len(places), "batch", widths[places[0]]])
            parts |= {place: g.op("Gather", state, np.int64(k), axis=0) for k, place in enumerate(places)}
        return [parts[i] for i in range(len(widths))]

    def _states_out(self, finals: list[Any]) -> None:
        g, widths = self.graph, self.layers.widths
        if not self.stacked:
            for name, final, width in zip(self.layers.names, finals, widths):
                g.output(f"final_{name}", final, FLOAT, ["batch", width])
            return
        for kind, places in self._kinds():
            parts = [g.op("Unsqueeze", finals[place], g.ints(0)) for place in places]
            stacked = g.op("Concat", *parts, axis=0)
            g.output(f"{kind}_n", stacked, FLOAT, [len(places), "batch", widths[places[0]]])

    def about(self) -> dict[str, str]:
        """Metadata: where the state is an input, what sequences start with, unless that differs among them."""
        found = {"model": type(self.module).__name__}
        if self.initial_state and not self.stacked:
            with contextlib.suppress(DataError):
                found["initial_state"] = json.dumps(self.layers.start_values())
        return found

    # --- checking

    def cases(self) -> list[Case]:
        """Batches of several sizes, ragged, with our own results."""
        random = np.random.RandomState(0)
        return [self.case(batch, time, random) for batch, time in SHAPES]

    def case(self, batch: int, time: int, random: np.random.RandomState) -> Case:
        """One batch of random numbers. A cell that takes the plain loop is none of the user's concern here."""
        states = [random.randn(batch, width).astype(np.float32) * 0.5 for width in self.layers.widths]
        feeds: dict[str, np.ndarray] = {}
        if self.one_step:
            feeds["x"] = random.randn(batch, self.input_size).astype(np.float32)
        else:
            x = random.randn(batch, time, self.input_size).astype(np.float32)
            feeds["lengths"] = lengths_for(batch, time, random)
            feeds["x"] = x if self.batch_first else np.ascontiguousarray(x.transpose(1, 0, 2))
        if self.initial_state:
            feeds |= self._named(states, "initial_{}", "{}_0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SlowPathWarning)
            return Case(feeds, self.ours(feeds, states))

    def _named(self, parts: list[np.ndarray], single: str, stacked: str) -> dict[str, np.ndarray]:
        if not self.stacked:
            return {single.format(name): part for name, part in zip(self.layers.names, parts)}
        return {
            stacked.format(kind): np.stack([parts[place] for place in places])
            for kind, places in self._kinds()
        }

    @torch.no_grad()
    def ours(self, feeds: dict[str, np.ndarray], states: list[np.ndarray]) -> dict[str, np.ndarray]:
        """The module's own outputs, by the names of the graph's."""
        state = self._nested([torch.from_numpy(part) for part in states]) if self.initial_state else None
        x = torch.from_numpy(feeds["x"])
        if self.one_step:
            output, final = self._own_step(x, state)
            return {"output": output.numpy(), **self._finals(final)}
        x = x if self.batch_first else x.transpose(0, 1)
        lengths = torch.from_numpy(feeds["lengths"])
        output, final = self.module(Ragged.from_padded(x, lengths), state)
        padded = [self._padded(o, x.shape[1]) for o in (output if isinstance(output, tuple) else (output,))]
        return {**dict(zip(self.output_names(), padded)), **self._finals(final)}

    def _own_step(self, x: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        """By the module over a time of one step."""
        if isinstance(self.module, Recurrent):
            new = self.module.step(x, state)
            return flatten(new)[0], new
        offsets = torch.arange(len(x) + 1)
        output, final = self.module(Ragged(x, offsets), state)
        return output.values, final

    def _padded(self, output: Ragged, time: int) -> np.ndarray:
        padded = np.zeros((len(output), time, output.values.shape[1]), dtype=np.float32)
        for row, values in zip(padded, output):
            row[: len(values)] = values.numpy()
        return padded if self.batch_first else padded.transpose(1, 0, 2)

    def _finals(self, final: Any) -> dict[str, np.ndarray]:
        if self.stacked:
            named = zip("hc", final if isinstance(final, tuple) else (final,))
            return {f"{kind}_n": part.numpy() for kind, part in named}
        return self._named([part.numpy() for part in flatten(final)], "final_{}", "")

    def _nested(self, parts: list[torch.Tensor]) -> Any:
        """A state as the module takes it."""
        if self.stacked:
            found = tuple(torch.stack([parts[place] for place in places]) for _, places in self._kinds())
            return found if len(found) > 1 else found[0]
        rest, layers = parts, []
        for layer in self.layers.layers:
            states = []
            for like in layer.likes:
                count = len(flatten(like))
                states.append(unflatten(like, rest[:count]))
                rest = rest[count:]
            layers.append(tuple(states))
        if not isinstance(self.module, Recurrent):
            return layers
        return layers[0] if self.module.bidirectional else layers[0][0]

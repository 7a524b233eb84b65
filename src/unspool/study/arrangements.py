"""Arrangements: a cell, what else a kind of model varies, and a layout, by name: "lstm/last/stacked"."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unspool import cells
from unspool.errors import bad_parameter, check_choice

#: Layout -> the estimator's settings.
LAYOUTS: dict[str, dict[str, Any]] = {
    "one": {"num_layers": 1, "bidirectional": False},
    "stacked": {"num_layers": 2, "bidirectional": False},
    "bidirectional": {"num_layers": 1, "bidirectional": True},
    "stacked-bidirectional": {"num_layers": 2, "bidirectional": True},
}
#: {LSTM, GRU} x {last state, pooling over all states} x {one layer, two stacked, bidirectional}.
TWELVE = tuple(
    f"{cell}/{pooling}/{layout}"
    for cell in ("lstm", "gru")
    for pooling in ("last", "max")
    for layout in ("one", "stacked", "bidirectional")
)
CELLS = ("rnn", "gru", "lstm")
#: What an arrangement may vary beside cell and layout -> the argument of `compare` that lists its values.
LISTS = {"pooling": "poolings", "model": "models", "attention": "attentions"}


@dataclass(frozen=True)
class Arrangement:
    """cell: a name in `unspool.cells.names()`; layout: in `LAYOUTS`; choice: of `parameter`, both None where a kind of
    model varies nothing else. directions: False where the model has no parameter bidirectional."""

    cell: str
    choice: str | None
    layout: str
    parameter: str | None = "pooling"
    directions: bool = True

    @property
    def name(self) -> str:
        """ "cell/choice/layout", or "cell/layout"."""
        return "/".join(part for part in (self.cell, self.choice, self.layout) if part is not None)

    def settings(self) -> dict[str, Any]:
        """The estimator's parameters that make this arrangement."""
        layout = dict(LAYOUTS[self.layout])
        if not self.directions:
            layout.pop("bidirectional")
        chosen = {} if self.parameter is None else {self.parameter: self.choice}
        return {"cell": self.cell, **chosen, **layout}


@dataclass(frozen=True)
class Grid:
    """What the arrangements of a kind of model vary.

    parameter: beside cell and layout, or None; choices: its values that are compared by default; check: raises for one
    that is none. layouts: compared by default. directions: whether the model can read both ways.
    """

    parameter: str | None = None
    choices: tuple[str, ...] = ()
    check: Callable[[str], Any] = str
    layouts: tuple[str, ...] = ("one", "stacked", "bidirectional")
    directions: bool = True

    @property
    def example(self) -> str:
        """A name."""
        return "/".join(["lstm", *self.choices[:1], "stacked"])

    def new(self, cell: str, choice: str | None, layout: str) -> Arrangement:
        """Checked."""
        check_choice("compare", "cells", cell, cells.names())
        if choice is not None:
            self.check(choice)
        able = [name for name in LAYOUTS if self.directions or not LAYOUTS[name]["bidirectional"]]
        check_choice("compare", "layouts", layout, able)
        return Arrangement(cell, choice, layout, self.parameter, self.directions)

    def parse(self, name: str) -> Arrangement:
        """Of a name; `InvalidParameterError` for anything else."""
        parts = str(name).split("/")
        if len(parts) != (2 if self.parameter is None else 3):
            twelve = ", or 'twelve'" if self.parameter == "pooling" else ""
            bad_parameter("compare", "arrangements", f"names such as {self.example!r}{twelve}", name)
        return self.new(parts[0], None if self.parameter is None else parts[1], parts[-1])

    def choose(
        self,
        arrangements: str | Sequence[str] | None,
        cell_names: Sequence[str],
        choices: Mapping[str, Sequence[str] | None],
        layouts: Sequence[str] | None,
    ) -> list[Arrangement]:
        """The arrangements named, "twelve", or with None the whole grid; each once, in the order given.

        choices: parameter -> its values, None for the default; `InvalidParameterError` for one that is not varied here.
        """
        for parameter, values in choices.items():
            if values is not None and parameter != self.parameter:
                own = "only cells and layouts" if self.parameter is None else LISTS[self.parameter]
                bad_parameter("compare", LISTS[parameter], f"None: this kind of model varies {own}", values)
        if arrangements is None:
            asked = choices.get(self.parameter or "")
            varied: Sequence[Any] = self.choices if asked is None else asked
            layouts = self.layouts if layouts is None else layouts
            given = {"cells": cell_names, "layouts": layouts}
            if self.parameter is None:
                varied = [None]
            else:
                given[LISTS[self.parameter]] = varied
            for name, values in given.items():
                if isinstance(values, str) or not len(values):
                    bad_parameter("compare", name, "a list of one or more names", values)
            chosen = [self.new(c, v, y) for c in cell_names for v in varied for y in layouts]
        else:
            twelve = arrangements == "twelve" and self.parameter == "pooling"
            names = TWELVE if twelve else arrangements
            if not isinstance(names, (str, list, tuple)):
                bad_parameter("compare", "arrangements", "a list of names, or 'twelve'", names)
            names = [names] if isinstance(names, str) else list(names)
            if not names:
                bad_parameter("compare", "arrangements", "one or more names, or 'twelve'", arrangements)
            chosen = [self.parse(name) for name in names]
        return list(dict.fromkeys(chosen))

"""What `compare` gives: the results of a study, and what is said, drawn and written of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from unspool.files import write_text
from unspool.study.layout import aligned, table_of
from unspool.study.report import page
from unspool.study.results import Results
from unspool.study.verdict import sentences


@dataclass
class Comparison(Results):
    """What `compare` found: `Results`, with `verdict`, sentences that say what the numbers mean."""

    def __repr__(self) -> str:
        return self.summary()

    @cached_property
    def verdict(self) -> list[str]:
        """What the numbers say, in sentences."""
        return sentences(self)

    def summary(self) -> str:
        """The table and the verdict, as text."""
        return "\n".join([aligned(*table_of(self)), "", *self.verdict])

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write the whole study as one HTML page that needs no other file."""
        write_text(path, page(self))

    def write(self, folder: Path, say: Callable[[str], None]) -> None:
        """Train and save the winner as `model`, and write report.html, table.csv and runs.csv to `folder`."""
        if self.racing and not self.interrupted:
            say(f"Training the winner, {self.best}, once more, to save it.")
            try:
                self.model.save(folder / "model")
            except KeyboardInterrupt:
                self.interrupted = True
        for name, frame in (("table.csv", self.table), ("runs.csv", self.runs)):
            write_text(folder / name, frame.write_csv())
        self.report(folder / "report.html")

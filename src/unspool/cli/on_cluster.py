"""`unspool predict --cluster`: the pieces of a table answered on the nodes of a Ray cluster, by Ray Data.

One task reads the table, on this machine alone, so that the nodes need not see the file; its pieces go to wherever a
processor is free, and their answers come back and are written in order. A task whose node is lost is run again by Ray
Data; every piece has a number, by which it is checked here that each comes once.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import typer

from unspool import __version__
from unspool.cli.answers import Answered, Answers, check_out, kept_pieces, laid_out, tell
from unspool.cli.options import Reading, load_model
from unspool.cli.threads import heard
from unspool.cluster import Cluster, check_ready, connected
from unspool.cluster.pool import Pool, content_of, sent
from unspool.cluster.tally import Tally, here
from unspool.errors import DataError, UnspoolError
from unspool.files import check_place
from unspool.parameters.parameter import as_given
from unspool.saved.store import read_parts, write_parts
from unspool.tables import Table, check_writable, write_pieces

PIECE = 20_000  # rows that a task answers


@dataclass
class Sent:
    """A saved model as it goes to the nodes: its two files. ask: the model to what is asked there; of a module that the
    nodes can import."""

    document: bytes
    tensors: bytes
    weights: str
    ask: Callable[[Any], Any]

    @classmethod
    def of(cls, path: Path, weights: str, ask: Callable[[Any], Any]) -> Sent:
        """The model at `path`."""
        with read_parts(str(path.expanduser())) as (document, stream, size):
            return cls(document, stream.read(size), weights, ask)

    @cached_property
    def asked(self) -> Any:
        """What is asked; read once in each process."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model")
            write_parts(path, self.document, self.tensors)
            return self.ask(load_model(path, self.weights))


@dataclass
class Work:
    """What a node needs to answer a piece: the model, and how it is asked.

    schema: of the answers' columns.
    """

    model: Sent
    input: str
    level: int | None
    schema: dict[str, Any]

    def answer(self, table: Table) -> Placed:
        """The piece with its answers."""
        answers = Answers(self.model.asked, self.input, self.level, schema=self.schema)
        with heard():
            return Placed(answers.part(table), here())


@dataclass
class Placed:
    """A piece with its answers, and where it was answered."""

    part: Answered
    place: tuple[str, str]


@dataclass(frozen=True)
class End:
    """After the last piece: how many rows were read, and dropped."""

    seen: int
    dropped: int


def predict_on_cluster(
    path: Path,
    weights: str,
    table_path: Path,
    input: str,
    out: Path | None,
    reading: Reading,
    level: int | None,
    address: str,
    ask: Callable[[Any], Any] | None = None,
) -> None:
    """The table with its answers to `out` or as CSV to stdout; see `unspool.cli.answers.predict_table`.

    ask: the model to what `Answers` takes, of a module that the nodes can import; None: the model itself.
    """
    from unspool.study.comparing import usable_cores

    check_ready(address)
    out = check_out(out, table_path)
    if ask is None:
        ask = laid_out if weights == "float32" else as_given
    answers = Answers(ask(load_model(path, weights)), input, level)
    columns = [input, *answers.beside.names]
    pieces = kept_pieces(reading, table_path, columns, rows=PIECE)
    first = next((table for table, _, _ in pieces if table is not None), None)
    if first is None:
        raise DataError(f"{table_path.name} has no text in column {input!r}.")
    # All that can fail for another reason than the model fails before a cluster is asked.
    check_writable(first.frame, out)
    if out is not None:
        check_place(out)
    rows = answers.complete(answers.read(first))
    answers.frame(first.take(rows[:1] if len(rows) else np.arange(len(first))))
    work = Work(Sent.of(path, weights, ask), input, level, dict(answers.schema or {}))
    answers = Answers(answers.model, input, level)
    with connected(address, usable_cores()) as cluster:
        typer.echo(str(cluster), err=True)
        parts = _parts(cluster, work, reading, table_path.expanduser().resolve(), columns)
        end, tally = End(0, 0), Tally(cluster)

        def frames() -> Iterator[pl.DataFrame]:
            nonlocal end
            seen = 0
            for found in parts:
                if isinstance(found, End):
                    end = found
                    continue
                tally.add(found.place)
                yield answers.add(found.part)
                seen += found.part.frame.height
                typer.echo(f"\r{seen:,} rows", nl=False, err=True)
            if seen + end.dropped != end.seen:
                raise UnspoolError(
                    f"The cluster lost rows: {end.seen} were read, {seen} came back. Nothing is written."
                )

        if out is None:
            for number, frame in enumerate(frames()):
                typer.echo(frame.write_csv(include_header=number == 0), nl=False)
        else:
            write_pieces(frames(), out)
    typer.echo(f"\n{tally}", err=True)
    tell(answers, out, end.dropped)


def answers_on_cluster(
    path: Path, weights: str, ask: Callable[[Any], Any], rows: Sequence[Any], address: str
) -> list[Any]:
    """What `ask(model)(part)` gives for parts of `rows`, a list as long as each, joined in their order; `ask` as of
    `predict_on_cluster`. For rows that no table has, all of which are in memory here."""
    from unspool.study.comparing import usable_cores

    check_ready(address)
    work = Sent.of(path, weights, ask)
    found: dict[int, list[Any]] = {}
    with connected(address, usable_cores()) as cluster:
        typer.echo(str(cluster), err=True)
        pool = Pool(cluster, _answer_rows, work)
        items = ((start, rows[start : start + PIECE]) for start in range(0, len(rows), PIECE))
        try:
            for (start, part), answers in pool.run(items):
                if len(answers) != len(part):
                    raise UnspoolError(f"The cluster gave {len(answers)} answers for {len(part)} rows.")
                found[start] = answers
                typer.echo(f"\r{sum(map(len, found.values())):,} rows", nl=False, err=True)
        finally:
            pool.cancel()
    typer.echo(f"\n{pool.tally}", err=True)
    return [answer for start in sorted(found) for answer in found[start]]


def _answer_rows(work: Sent, item: tuple[int, Sequence[Any]]) -> list[Any]:
    """On a node."""
    return work.asked(item[1])


def _parts(
    cluster: Cluster, work: Work, reading: Reading, table: Path, columns: list[str]
) -> Iterator[Placed | End]:
    """The answered pieces in the order of the table, each once, and the end; an error is raised where it came."""
    import ray.data
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from unspool.cli.table_source import TableSource

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    context = ray.data.DataContext.get_current().copy()
    context.execution_options.preserve_order = True
    context.target_max_block_size = 1  # a block a piece
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    with ray.data.DataContext.current(context):
        pieces = ray.data.read_datasource(
            TableSource(reading, table, columns, PIECE),
            override_num_blocks=1,
            num_cpus=0,
            ray_remote_args={"scheduling_strategy": here},
        )
        answered = pieces.map(
            _answer, fn_kwargs={"version": __version__, "held": sent(cluster, work)}, num_cpus=1
        )
        last = None
        for number, row in enumerate(answered.iter_rows()):
            if row["piece"] != number or isinstance(last, End):
                raise UnspoolError(
                    f"The cluster gave piece {row['piece']} of the table in the place of {number}."
                )
            last = pickle.loads(row["content"])
            if isinstance(last, UnspoolError):
                raise last
            yield last
        if not isinstance(last, End):
            raise UnspoolError("The cluster ended before the table did.")


def _answer(row: dict[str, Any], version: str, held: list[Any]) -> dict[str, Any]:
    """On a node: a piece with its answers, or the error that it gives; an error and the end are passed on."""
    content = pickle.loads(row["content"])
    if isinstance(content, Table):
        try:
            content = content_of(version, held).answer(content)
        except UnspoolError as error:
            content = error
    return {"piece": row["piece"], "content": pickle.dumps(content)}

"""`unspool bench`: what runs natively on this machine, and how much faster than torch and the plain loop."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unspool.cli.options import Debug

if TYPE_CHECKING:
    from unspool.bench import Case

SECONDS = 0.5  # a row
DEFAULT = ["lstm", "gru", "rnn"]
LENGTHS = {"dense": "{} steps each", "ragged": "up to {} steps each"}


def bench(
    cell: Annotated[
        list[str] | None, typer.Option(help="A cell's name; repeat it for several. Default: lstm, gru, rnn.")
    ] = None,
    hidden: Annotated[
        list[int] | None, typer.Option(help="Hidden size; repeat it for several. Default: 64.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Sequences in a batch.")] = 32,
    length: Annotated[int, typer.Option(help="Steps of the longest sequence.")] = 150,
    features: Annotated[int | None, typer.Option(help="Features of a step. Default: 128.")] = None,
    dense: Annotated[bool, typer.Option("--dense", help="All sequences of full length.")] = False,
    directions: Annotated[int | None, typer.Option(help="1 or 2. Default: 2.")] = None,
    threads: Annotated[int | None, typer.Option(help="Default: torch's choice.")] = None,
    model: Annotated[Path | None, typer.Option(help="Measure this saved model's layers instead.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    debug: Debug = False,
) -> None:
    """Measure one layer, or a saved model, against torch's layers and the plain loop, side by side.

    Ratios are the other's time divided by ours. Lengths are uniform from a fifteenth of --length to --length.
    """
    import torch

    import unspool
    from unspool import _native, cells
    from unspool.bench import WORKS, Case
    from unspool.cli.doctor import cpu_name
    from unspool.errors import bad_parameter, check_choice, check_int

    if threads is not None:
        torch.set_num_threads(check_int("bench", "threads", threads))
    given = {"cell": cell, "hidden": hidden, "features": features, "directions": directions}
    for name, value in given.items():
        if model is not None and value is not None:
            bad_parameter("bench", name, "left out with --model: the model has its own", value)
    for name in cell or []:
        check_choice("bench", "cell", name, cells.names())
    shape = "dense" if dense else "ragged"
    result: dict[str, Any] = {
        "processor": cpu_name(),
        "isa": _native.isa(),
        "threads": torch.get_num_threads(),
        "versions": {"unspool": unspool.__version__, "torch": torch.__version__},
    }
    if model is None:
        sizes: dict[str, Any] = {
            "batch": batch,
            "length": length,
            "features": 128 if features is None else features,
            "directions": 2 if directions is None else directions,
            "shape": shape,
        }
        cases = [
            Case(n, w, work=work, **sizes) for n in cell or DEFAULT for w in hidden or [64] for work in WORKS
        ]
        result["paths"] = paths(cell or cells.names(), sizes["features"])
        result["rows"] = layers(cases, result["paths"])
    else:
        result["rows"] = saved(model, batch, length, shape)
    if as_json:
        typer.echo(json.dumps(result, indent=1))
    else:
        show(result)


def paths(names: list[str], features: int) -> dict[str, str]:
    """Cell -> "native", or the engine and the reason."""
    import torch

    from unspool import cells, explain_path
    from unspool.nn import Recurrent

    return {
        name: explain_path(Recurrent(cells.get(name)(features, 8)), torch.zeros(2, 3, features))
        for name in names
    }


def layers(cases: list[Case], paths: dict[str, str]) -> list[dict[str, Any]]:
    """For each case its fields, "path", and `Measured.to_dict`."""
    from unspool import cells
    from unspool.bench import competitors, flops, measure

    rows = []
    for case in cases:
        runs = competitors(case, engine="auto")
        found = measure(runs, flops(case, cells.get(case.cell)(case.features, case.hidden)), SECONDS)
        rows.append({**asdict(case), "path": paths[case.cell], **found.to_dict()})
    return rows


def saved(model: Path, batch: int, length: int, shape: str) -> list[dict[str, Any]]:
    """A row for each kind of work of a saved model's embedding and recurrent layers, on random input.

    cell, hidden, directions and features are its first layer's; "layers": how many it has.
    """
    import unspool
    from unspool.bench import WORKS, Case, interleave, told
    from unspool.bench.saved import model_runs, random_input

    network = unspool.load(model).network_
    layer = network.stack.layers[0]
    rows = []
    for work in WORKS:
        size = {"batch": batch, "length": length, "features": layer.cell.input_size}
        name, directions = type(layer.cell).__name__, 2 if layer.bidirectional else 1
        case = Case(name, layer.cell.hidden_size, shape, directions, work, **size)
        network.train(work == "training")
        x = random_input(network, case)
        x = x if network.embedding is None else x.with_values(network.embedding(x.values))
        found = interleave(model_runs(network, case), SECONDS)
        about = {**asdict(case), "layers": len(network.stack.layers), "path": network.stack.explain_path(x)}
        rows.append({**about, **told(found)})
    return rows


def show(result: dict[str, Any]) -> None:
    """The same as tables."""
    from unspool.cli.console import print_table

    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    typer.echo(f"{result['processor']}, {result['isa']}, {result['threads']} thread(s), {versions}")
    if "paths" in result:
        print_table(("cell", "runs"), list(result["paths"].items()))
    rows = result["rows"]
    peers = list(dict.fromkeys(name for row in rows for name in row["ratios"]))
    first = rows[0]
    typer.echo(
        f"{first['batch']} sequences, {LENGTHS[first['shape']].format(first['length'])}, {first['features']} "
        f"features, {'both directions' if first['directions'] == 2 else 'one direction'}; the other's time / ours:"
    )
    share = "share_of_peak" in first
    table = []
    for row in rows:
        name = f"{row['layers']} x {row['cell']}" if "layers" in row else row["cell"]
        cells = [f"{name} {row['hidden']}", row["work"], f"{row['ms']['unspool']:.2f}"]
        cells += [f"{row['share_of_peak']:.0%}"] if share else []
        table.append([*cells, *(f"{row['ratios'][p]:.1f}" if p in row["ratios"] else "-" for p in peers)])
    print_table(["layer", "work", "ours, ms", *(["of peak"] if share else []), *peers], table)
    for path in dict.fromkeys(row["path"] for row in rows):
        if path != "native":
            typer.echo(f"Not native: {path}")

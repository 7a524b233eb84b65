"""`unspool export`: a saved model as ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from unspool.cli.fit import not_itself
from unspool.cli.options import Debug, Model


def export(
    model: Model,
    out: Annotated[
        Path, typer.Option(help="The ONNX file to write, such as model.onnx.", show_default=False)
    ],
    part: Annotated[
        str,
        typer.Option(help="all, or network: without the linear model on TF-IDF that a blend has."),
    ] = "all",
    level: Annotated[
        list[float] | None,
        typer.Option(
            help="Of a forecaster: intervals that hold so many per cent; repeat it.", show_default=False
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Write a saved model as ONNX, checked against ONNX Runtime.

    Padded ids or series and their lengths go in, predictions come out; of a model that generates text one step, the
    state in and out; of texts to texts the whole, to the likeliest token at each step; of a forecaster the past of
    series in, forecasts out. Where the graph and the model differ by more than 1e-5, nothing is written. Beside the
    graph of a model of texts comes tokenizer.json, for the tokenizers library.

    unspool export model --out model.onnx
    """
    import unspool
    from unspool.exporting import to_onnx

    not_itself(out, model)
    _tell(to_onnx(unspool.load(model), out, part=part, level=level or None))


def _tell(exported: Any) -> None:
    for name, dims in exported.inputs.items():
        typer.echo(f"in   {name} ({', '.join(map(str, dims))})")
    for name, dims in exported.outputs.items():
        typer.echo(f"out  {name} ({', '.join(map(str, dims))})")
    for note in exported.notes:
        typer.echo(f"note: {note}")
    typer.echo(f"Largest difference to ONNX Runtime, relative to 1 or more: {exported.difference:.1e}.")
    typer.echo(f"Written: {', '.join(str(path) for path in (exported.path, *exported.beside))}.")

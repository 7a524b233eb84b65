"""`unspool import`: a model of another library to a saved model of ours; `predict` and `inspect` of such a one."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unspool.cli.options import (
    Debug,
    Model,
    OnCluster,
    Predictions,
    Reading,
    TableInput,
    Texts,
    Weights,
    load_model,
    source_options,
    with_options,
)
from unspool.errors import DataError

if TYPE_CHECKING:
    from unspool.cli.answers import OfTexts

KERAS = (".keras", ".h5", ".hdf5")
TORCH = (".pt", ".pth", ".bin", ".ckpt", ".safetensors")
ONNX = ".onnx"
OF_KERAS = "Of Keras files: "


def import_(
    file: Annotated[Path, typer.Argument(help="The file: .keras, .h5, .onnx, .pt or .safetensors.")],
    out: Annotated[Path, typer.Option(help="Where to save the model: a folder, or a .zip.")],
    tokenizer: Annotated[
        Path | None,
        typer.Option(help=f"{OF_KERAS}the JSON of the Tokenizer; texts are then input.", show_default=False),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help=f"{OF_KERAS}the JSON of the architecture, for weights alone.", show_default=False),
    ] = None,
    maxlen: Annotated[
        int | None,
        typer.Option(
            help=f"{OF_KERAS}bring sequences to this length, as in training. Default: the length that the network "
            "was built for, if any.",
            show_default=False,
        ),
    ] = None,
    padding: Annotated[str, typer.Option(help="The side that is filled: pre or post.")] = "pre",
    truncating: Annotated[str, typer.Option(help="The side that is cut: pre or post.")] = "pre",
    keras_version: Annotated[
        str | None, typer.Option(help=f"{OF_KERAS}where the file does not say it.", show_default=False)
    ] = None,
    prefix: Annotated[
        str | None,
        typer.Option(
            help="Of torch files: the layer, such as encoder.lstm; default: the only one.", show_default=False
        ),
    ] = None,
    nonlinearity: Annotated[str, typer.Option(help="Of torch files: of a plain RNN, tanh or relu.")] = "tanh",
    output: Annotated[
        str | None,
        typer.Option(help="Of ONNX files: the output; default: the first.", show_default=False),
    ] = None,
    debug: Debug = False,
) -> None:
    """Import a model that was trained with Keras, torch or another library (ONNX).

    unspool import old.h5 --tokenizer tok.json --out model

    unspool predict model "what a lovely day"
    """
    from unspool import importing, saved

    saved.check_place(out)
    kind = file.suffix.lower()
    of_keras: dict[str, Any] = {
        "tokenizer": tokenizer,
        "config": config,
        "maxlen": maxlen,
        "keras_version": keras_version,
    }
    given = [name for name, value in of_keras.items() if value is not None]
    given += [name for name, value in (("padding", padding), ("truncating", truncating)) if value != "pre"]
    if kind not in KERAS and given:
        raise DataError(f"--{given[0].replace('_', '-')} is for Keras files ({', '.join(KERAS)}).")
    if kind not in TORCH and (prefix is not None or nonlinearity != "tanh"):
        raise DataError(f"--prefix and --nonlinearity are for torch files ({', '.join(TORCH)}).")
    if kind != ONNX and output is not None:
        raise DataError("--output is for ONNX files (.onnx).")
    if kind in KERAS:
        model = importing.from_keras(file, **of_keras, padding=padding, truncating=truncating)
    elif kind in TORCH:
        model = importing.model_of(importing.from_torch(file, prefix, nonlinearity=nonlinearity))
    elif kind == ONNX:
        model = importing.from_onnx(file, output)
    else:
        known = ", ".join((*KERAS, *TORCH, ONNX))
        raise DataError(f"The file must end in one of {known}. Got {file.name!r}.")
    model.save(out)
    typer.echo(model.summary())
    typer.echo(f"Saved: {out}.")


@with_options(source_options(Reading))
def predict(
    model: Model,
    texts: Texts = None,
    input: TableInput = None,
    out: Predictions = None,
    weights: Weights = "float32",
    cluster: OnCluster = None,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Predict with an imported model of texts: its outputs and the text, separated by tabs.

    A table: its columns and one for each output, to --out or as CSV to stdout; a row without a text has none.

    unspool predict model "what a day"

    unspool predict model reviews.csv --input text --out predictions.csv
    """
    from unspool.cli.predict import not_on_cluster, stdin_lines, table_of

    loaded = load_model(model, weights)
    if loaded.tokenizer is None:
        raise DataError("This model reads no texts. Use it from Python: unspool.load(path).predict(X).")
    table = table_of(texts, input, out)
    if table is not None and input is not None:
        from unspool.cli.answers import Answers, answer_table, check_out

        if loaded.per_step:
            raise DataError(
                "This model has an output for each step, not one for each row. Use it from Python."
            )
        reading = Reading.of(options)
        if cluster is not None:
            from unspool.cli.on_cluster import predict_on_cluster

            if loaded.stateful:
                raise DataError("This model carries its state on from row to row: leave --cluster out.")
            predict_on_cluster(model, weights, table, input, out, reading, None, cluster, of_texts)
            return
        out = check_out(out, table)
        answer_table(Answers(of_texts(loaded), input), table, out, reading, pieces=not loaded.stateful)
        return
    not_on_cluster(cluster)
    given = texts or stdin_lines(options["encoding"])
    for outputs, text in zip(loaded.predict(given), given):
        typer.echo("\t".join([_numbers(outputs), " ".join(text.split())]))


def of_texts(model: Any) -> OfTexts:
    """The model as `unspool.cli.answers.Answers` asks it."""
    from unspool.cli.answers import OfTexts

    return OfTexts(partial(_columns, model))


def _columns(model: Any, texts: list[str]) -> dict[str, Any]:
    outputs = model.predict(texts)
    width = outputs.shape[1]
    names = ["prediction"] if width == 1 else [f"prediction_{number}" for number in range(width)]
    return dict(zip(names, outputs.T))


def _numbers(outputs: Any) -> str:
    if outputs.ndim > 1:  # one row a step
        return " | ".join(_numbers(row) for row in outputs)
    return "\t".join(f"{value:.6f}" for value in outputs)


def inspect(model: Model, debug: Debug = False) -> None:
    """Print the layers of an imported model, and what it reads."""
    import unspool

    typer.echo(unspool.load(model).summary())

"""`unspool import`: a model of another library to a saved model of ours; `predict` and `inspect` of such a one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
        list[str] | None,
        typer.Option(
            metavar="FILE|NAME=FILE",
            help=f"{OF_KERAS}the JSON of the Tokenizer; texts are then input. NAME=: of this input alone; repeat it.",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help=f"{OF_KERAS}the JSON of the architecture, for weights alone.", show_default=False),
    ] = None,
    maxlen: Annotated[
        list[str] | None,
        typer.Option(
            metavar="N|NAME=N",
            help=f"{OF_KERAS}bring sequences to this length, as in training. Default: the length that the network "
            "was built for, if any. NAME=: of this input alone; repeat it.",
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
        "tokenizer": _by_name("--tokenizer", tokenizer or (), Path),
        "config": config,
        "maxlen": _by_name("--maxlen", maxlen or (), _steps),
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
        if file.name == "saved_model.pb" or (file / "saved_model.pb").exists():
            raise DataError(
                f"{str(file)!r} is a SavedModel of TensorFlow, a program that would have to run. Load it with Keras "
                f"and save it as .keras or .h5. Files that are read end in {known}."
            )
        raise DataError(f"The file must end in one of {known}. Got {file.name!r}.")
    model.save(out)
    typer.echo(model.summary())
    typer.echo(f"Saved: {out}.")


def _by_name(option: str, given: Sequence[str], kind: Callable[[str], Any]) -> Any:
    """One value, or NAME=VALUE each -> a dict of them; None for none."""
    if len(given) == 1 and ("=" not in given[0] or Path(given[0]).exists()):
        return kind(given[0])
    parts = [one.partition("=") for one in given]
    names = [name for name, _, _ in parts]
    if not all(equals for _, equals, _ in parts) or len(set(names)) < len(names):
        raise DataError(
            f"Several {option} must each be NAME=VALUE, of different inputs. Got {', '.join(given)}."
        )
    return {name: kind(value) for name, _, value in parts} or None


def _steps(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise DataError(f"--maxlen must be a whole number of steps. Got {text!r:.40}.") from None


Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="COLUMN|NAME=COLUMN",
        help="The column of texts of a table; of a model with several inputs NAME=COLUMN for each, and for an input of "
        "several numbers once for each of them.",
        show_default=False,
    ),
]


@with_options(source_options(Reading))
def predict(
    model: Model,
    texts: Texts = None,
    input: Columns = None,
    out: Predictions = None,
    weights: Weights = "float32",
    cluster: OnCluster = None,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Predict with an imported model of texts: its outputs and the text, separated by tabs.

    A table: its columns and one for each output, to --out or as CSV to stdout; a row that lacks a value has none.

    unspool predict model "what a day"

    unspool predict model reviews.csv --input text --out predictions.csv

    unspool predict model t.csv --input title=title --input body=text --input numbers=price --input numbers=age
    """
    from unspool.cli.predict import not_on_cluster, stdin_lines, table_of

    loaded = load_model(model, weights)
    if all(given.tokenizer is None for given in loaded.inputs):
        raise DataError("This model reads no texts. Use it from Python: unspool.load(path).predict(X).")
    table = table_of(texts, ", ".join(input) if input else None, out)
    if table is not None and input is not None:
        from unspool.cli.answers import Answers, answer_table, check_out

        columns = _columns_of(loaded, input)
        if any(loaded.per_step):
            raise DataError(
                "This model has an output for each step, not one for each row. Use it from Python."
            )
        reading, ask = Reading.of(options), partial(of_columns, columns)
        main = ask(loaded).text_column or ""
        if cluster is not None:
            from unspool.cli.on_cluster import predict_on_cluster

            if loaded.stateful:
                raise DataError("This model carries its state on from row to row: leave --cluster out.")
            predict_on_cluster(model, weights, table, main, out, reading, None, cluster, ask)
            return
        out = check_out(out, table)
        answer_table(Answers(ask(loaded), main), table, out, reading, pieces=not loaded.stateful)
        return
    not_on_cluster(cluster)
    if len(loaded.inputs) > 1:
        names = " ".join(f"--input {given.name}=COLUMN" for given in loaded.inputs)
        raise DataError(f"This model has {len(loaded.inputs)} inputs: give a table, and {names}.")
    given = texts or stdin_lines(options["encoding"])
    found = loaded.predict(given)
    ends = list(found.values()) if isinstance(found, dict) else [found]
    for *outputs, text in zip(*ends, given):
        typer.echo("\t".join([*map(_numbers, outputs), " ".join(text.split())]))


def _columns_of(model: Any, given: Sequence[str]) -> dict[str, list[str]]:
    """Input -> its columns of a table; `DataError` where they are not what the model reads."""
    columns: dict[str, list[str]] = {one.name: [] for one in model.inputs}
    for one in given:
        name, equals, column = one.partition("=")
        if not equals or name not in columns:
            if len(columns) > 1:
                raise DataError(
                    f"--input must be NAME=COLUMN, NAME one of {', '.join(columns)}. Got {one!r}."
                )
            name, column = next(iter(columns)), one
        columns[name].append(column)
    for one in model.inputs:
        single = one.kind == "ids" and one.tokenizer is None and one.padding.maxlen == 1
        if one.kind == "series" or (one.kind == "ids" and one.tokenizer is None and not single):
            raise DataError(f"The input {one.name!r} reads {one}, which no column holds. Use it from Python.")
        wanted = one.features if one.kind == "row" else 1
        if len(columns[one.name]) != wanted:
            raise DataError(
                f"The input {one.name!r} needs {wanted} column{'s' * (wanted != 1)}: --input {one.name}=COLUMN. "
                f"Got {len(columns[one.name])}."
            )
    return columns


def of_columns(columns: Mapping[str, list[str]], model: Any) -> OfTexts:
    """The model as `unspool.cli.answers.Answers` asks it, of these columns for each of its inputs."""
    from unspool.cli.answers import OfTexts

    texts = [columns[one.name][0] for one in model.inputs if one.tokenizer is not None]
    others = [column for one in model.inputs if one.tokenizer is None for column in columns[one.name]]
    return OfTexts(partial(_outputs, model, columns), texts[0], tuple(dict.fromkeys(others)), texts[1:], True)


def _outputs(model: Any, columns: Mapping[str, list[str]], X: Mapping[str, list[Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for one in model.inputs:
        read = [X[column] for column in columns[one.name]]
        if one.kind == "row":
            values[one.name] = list(zip(*read))
        elif one.tokenizer is not None:
            values[one.name] = [str(value) for value in read[0]]
        elif all(float(value).is_integer() for value in read[0]):
            values[one.name] = [int(value) for value in read[0]]
        else:
            raise DataError(f"Column {columns[one.name][0]!r} must hold whole numbers: ids of {one.name!r}.")
    found = model.predict(values)
    ends = found if isinstance(found, dict) else {"": found}
    named: dict[str, Any] = {}
    for name, outputs in ends.items():
        stem = f"prediction_{name}" if name else "prediction"
        width = outputs.shape[1]
        names = [stem] if width == 1 else [f"{stem}_{number}" for number in range(width)]
        named.update(zip(names, outputs.T))
    return named


def _numbers(outputs: Any) -> str:
    if outputs.ndim > 1:  # one row a step
        return " | ".join(_numbers(row) for row in outputs)
    return "\t".join(f"{value:.6f}" for value in outputs)


def inspect(model: Model, debug: Debug = False) -> None:
    """Print the layers of an imported model, and what it reads."""
    import unspool

    typer.echo(unspool.load(model).summary())

"""`unspool fit`: a table -> a trained, saved and honestly evaluated model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unspool.cli.options import (
    SAVED,
    Debug,
    Delimiter,
    DropMissing,
    Encoding,
    Format,
    Input,
    Quotes,
    Reading,
    Targets,
    numbers,
)

if TYPE_CHECKING:
    from unspool.cli.data import Data

SPLIT, MODEL, TRAINING = "Training and test rows", "Model", "Training"


def fit(
    ctx: typer.Context,
    table: Annotated[Path, typer.Argument(help="CSV, TSV, JSON lines or Parquet.", show_default=False)],
    input: Input,
    target: Targets,
    out: Annotated[Path, typer.Option(help="Where the model goes: a folder or a .zip.", show_default=False)],
    report: Annotated[
        Path | None, typer.Option(help="Where metrics, plot and test predictions go. Default: OUT-report.")
    ] = None,
    task: Annotated[
        str,
        typer.Option(
            help="auto, regression or classification. auto: regression for several targets, or numbers with "
            "fractions or more than 10 distinct values; otherwise classification."
        ),
    ] = "auto",
    split_column: Annotated[
        str | None,
        typer.Option(help="Column that holds train, dev (or valid) and test.", rich_help_panel=SPLIT),
    ] = None,
    test: Annotated[Path | None, typer.Option(help="A table of test rows.", rich_help_panel=SPLIT)] = None,
    test_fraction: Annotated[
        float | None,
        typer.Option(
            help="Share of rows for the test, drawn by --seed. Default: 0.2.", rich_help_panel=SPLIT
        ),
    ] = None,
    validation_fraction: Annotated[
        float,
        typer.Option(help="Share of the training rows for early stopping.", rich_help_panel=SPLIT),
    ] = 0.1,
    cell: Annotated[
        str, typer.Option(help="rnn, gru, lstm or another of docs/cells.md.", rich_help_panel=MODEL)
    ] = "lstm",
    hidden_size: Annotated[
        Any,
        typer.Option(
            parser=numbers(int),
            metavar="N[,N...]",
            help="Units a direction; 64,32: of each layer.",
            rich_help_panel=MODEL,
        ),
    ] = 128,
    num_layers: Annotated[int, typer.Option(help="Stacked layers.", rich_help_panel=MODEL)] = 1,
    bidirectional: Annotated[bool, typer.Option(help="Read both ways.", rich_help_panel=MODEL)] = True,
    merge: Annotated[
        str, typer.Option(help="Both ways' outputs: concat, sum, mean or product.", rich_help_panel=MODEL)
    ] = "concat",
    connection: Annotated[
        str | None,
        typer.Option(help="Around layers 2, 3, ...: residual or highway.", rich_help_panel=MODEL),
    ] = None,
    embedding_dim: Annotated[int, typer.Option(help="Numbers a token.", rich_help_panel=MODEL)] = 128,
    pooling: Annotated[
        str,
        typer.Option(help="last, first, mean, max, attention, or a sum: mean+max.", rich_help_panel=MODEL),
    ] = "last",
    dense: Annotated[
        list[int] | None,
        typer.Option(help="Width of a hidden layer before the output; repeat it.", rich_help_panel=MODEL),
    ] = None,
    dropout: Annotated[
        float, typer.Option(help="Between layers and before the output, in [0, 1).", rich_help_panel=MODEL)
    ] = 0.0,
    input_dropout: Annotated[
        float, typer.Option(help="Features of a layer's input, for a whole text.", rich_help_panel=MODEL)
    ] = 0.0,
    recurrent_dropout: Annotated[
        float, typer.Option(help="Units of the state in products, for a whole text.", rich_help_panel=MODEL)
    ] = 0.0,
    zoneout: Annotated[
        Any,
        typer.Option(
            parser=numbers(float),
            metavar="RATE[,RATE...]",
            help="Units of the state kept at a step; 0.05,0.5: of each part.",
            rich_help_panel=MODEL,
        ),
    ] = 0.0,
    weight_dropout: Annotated[
        float, typer.Option(help="Entries of the recurrent matrices.", rich_help_panel=MODEL)
    ] = 0.0,
    level: Annotated[str, typer.Option(help="Tokens: word or char.", rich_help_panel=MODEL)] = "word",
    max_words: Annotated[int, typer.Option(help="Largest vocabulary.", rich_help_panel=MODEL)] = 10_000,
    epochs: Annotated[int, typer.Option(help="At most.", rich_help_panel=TRAINING)] = 20,
    batch_size: Annotated[int, typer.Option(help="Texts a step.", rich_help_panel=TRAINING)] = 32,
    learning_rate: Annotated[float, typer.Option(help="Of Adam.", rich_help_panel=TRAINING)] = 1e-3,
    weight_decay: Annotated[float, typer.Option(help="Of Adam.", rich_help_panel=TRAINING)] = 0.0,
    gradient_clip: Annotated[
        float, typer.Option(help="Largest norm of the gradient.", rich_help_panel=TRAINING)
    ] = 1.0,
    gradient_clip_value: Annotated[
        float | None,
        typer.Option(
            help="Largest size of a number in the gradient. Default: any.", rich_help_panel=TRAINING
        ),
    ] = None,
    embedding_update: Annotated[
        str,
        typer.Option(
            help="dense, or sparse: only the tokens of the batch, faster with many words.",
            rich_help_panel=TRAINING,
        ),
    ] = "dense",
    early_stopping: Annotated[
        bool, typer.Option(help="Stop on the validation loss.", rich_help_panel=TRAINING)
    ] = True,
    patience: Annotated[
        int, typer.Option(help="Epochs without a better validation loss.", rich_help_panel=TRAINING)
    ] = 3,
    seed: Annotated[int, typer.Option(help="Of split, weights and batches.", rich_help_panel=TRAINING)] = 0,
    format: Format = None,
    encoding: Encoding = "utf-8",
    delimiter: Delimiter = None,
    quotes: Quotes = True,
    drop_missing: DropMissing = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No line an epoch.")] = False,
    debug: Debug = False,
) -> None:
    """Train on the texts of a table, save the model, and measure it beside two baselines.

    unspool fit reviews.csv --input text --target score --out model
    """
    from unspool.cli.data import check_out, prepare
    from unspool.cli.report import measure, measure_baselines, print_metrics, write_report

    report = report or out.with_name(out.name + "-report")
    check_out(out)
    data = prepare(
        Reading(format, encoding, delimiter, quotes),
        table,
        input,
        target,
        task=task,
        split_column=split_column,
        test=test,
        test_fraction=test_fraction,
        seed=seed,
        drop_missing=drop_missing,
    )
    for line in data.notes:
        typer.echo(line)
    settings = {
        "cell": cell,
        "hidden_size": hidden_size,
        "num_layers": num_layers,
        "bidirectional": bidirectional,
        "merge": merge,
        "connection": connection,
        "embedding_dim": embedding_dim,
        "pooling": pooling,
        "dense": tuple(dense or ()),
        "dropout": dropout,
        "input_dropout": input_dropout,
        "recurrent_dropout": recurrent_dropout,
        "zoneout": zoneout,
        "weight_dropout": weight_dropout,
        "max_words": max_words,
        "level": level,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "gradient_clip": gradient_clip,
        "gradient_clip_value": gradient_clip_value,
        "embedding_update": embedding_update,
        "early_stopping": early_stopping,
        "patience": patience,
        "validation_fraction": validation_fraction,
        "random_state": seed,
        "verbose": 0 if quiet else 1,
    }
    started = time.perf_counter()
    model = train(ctx, data, settings, out)
    seconds = time.perf_counter() - started
    result = measure("this model", model, data.test, data.task)
    baselines = measure_baselines(data, level, seed)
    verdicts = print_metrics(target, len(data.test.texts), result, [other for other, _ in baselines])
    facts = {
        "task": data.task.name,
        "rows": data.counts(),
        "baselines": {
            other.name: {"settings": chosen, "metrics": dict(zip(target, other.metrics, strict=True))}
            for other, chosen in baselines
        },
        "verdicts": [v.sentence for v in verdicts],
        "settings": settings,
        "training": {"seconds": seconds, "parameters": model.n_parameters_, "epochs": model.history_},
    }
    write_report(report, data.task, input, target, data.test, result, facts)
    typer.echo(f"Model: {out}. Metrics, plot and test predictions: {report}.")


def train(ctx: typer.Context, data: Data, settings: dict[str, Any], out: Path) -> Any:
    """The fitted estimator, saved; after Ctrl-C the best model so far is, and KeyboardInterrupt raised."""
    from unspool.estimators import for_task

    model = for_task(data.task.name)(**settings)
    validation = None if data.validation is None else (data.validation.texts, data.validation.y)
    model.fit(data.train.texts, data.train.y, validation_data=validation)
    model.save(out)
    interrupted = bool(model.interrupted_)
    state = f"the {'best model so far' if interrupted else 'trained model'} is saved in {out}"
    ctx.meta[SAVED] = f"{state}, not evaluated."
    if interrupted:
        raise KeyboardInterrupt
    return model

"""`unspool inspect`: what a saved model is."""

from __future__ import annotations

import typer

from unspool.cli.options import Debug, Model


def inspect(model: Model, debug: Debug = False) -> None:
    """Print the layers, parameters, vocabulary, settings and training history of a saved model."""
    import unspool
    from unspool.cli.console import print_table
    from unspool.study.metrics import number

    estimator = unspool.load(model)
    typer.echo(estimator.summary())
    if estimator.input_.kind == "text":
        encoder = estimator.input_.encoder
        kind = "words" if encoder.level == "word" else "characters"
        typer.echo(
            f"Vocabulary: {len(encoder.words_):,} {kind}, most frequent: {' '.join(encoder.words_[:12])}"
        )
    if hasattr(estimator, "classes_"):
        typer.echo(f"Classes: {', '.join(map(str, estimator.classes_))}")
    print_table(("setting", "value"), [(name, str(value)) for name, value in estimator.get_params().items()])
    history = estimator.history_
    columns = list(history[0])
    rows = [[number(epoch[name]) for name in columns] for epoch in history]
    for row, epoch in zip(rows, history, strict=True):
        row[0] += " *" if epoch["epoch"] == estimator.best_epoch_ else "  "
    print_table([name.replace("_", " ") for name in columns], rows)
    typer.echo(f"* the epoch whose weights are kept{' (interrupted)' if estimator.interrupted_ else ''}")

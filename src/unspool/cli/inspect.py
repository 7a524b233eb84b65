"""`unspool inspect`: what a saved model is."""

from __future__ import annotations

import typer

from unspool.cli.options import Debug, Model


def inspect(model: Model, debug: Debug = False) -> None:
    """Print the layers, parameters, settings, vocabulary and training history of a saved model."""
    import unspool
    from unspool.cli.console import print_table

    estimator = unspool.load(model)
    typer.echo(f"{type(estimator).__name__} in {model}")
    typer.echo(estimator.summary())
    print_table(("setting", "value"), [(k, str(v)) for k, v in estimator.get_params().items()])

"""`unspool inspect`: what a saved model is, and what its cell does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from unspool.cli.options import Debug, Model, load_model
from unspool.errors import DataError


def inspect(
    model: Model,
    text: Annotated[
        str | None,
        typer.Option(help="Draw what each gate and state part does over this text.", show_default=False),
    ] = None,
    gradients: Annotated[
        bool, typer.Option("--gradients", help="Draw how far back in time gradients reach.")
    ] = False,
    diagram: Annotated[bool, typer.Option("--diagram", help="Draw the data flow of the cell.")] = False,
    curves: Annotated[
        bool, typer.Option("--curves", help="Draw loss and gradient norm over the epochs.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the drawings. Default: the model's name with -inspect.", show_default=False
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Print the layers, equations, parameters, vocabulary, settings and training history of a saved model.

    unspool inspect model

    unspool inspect model --text "what a lovely day" --gradients --diagram --curves
    """
    wanted = text is not None or gradients or diagram or curves
    if out is not None and not wanted:
        raise DataError(
            "--out is the folder for drawings: say which, by --text, --gradients, --diagram or --curves."
        )
    estimator = load_model(model, "float32")
    if text is not None and estimator.input_.kind != "text":
        raise DataError(f"--text needs a model of texts. This one reads {estimator.input_.describe()}.")
    if text is not None and not estimator.input_.encoder.tokens(text):
        raise DataError(f"--text holds no token: {text!r}. Give one word at least.")
    _print(estimator)
    if wanted:
        folder = model.with_name(f"{model.stem}-inspect") if out is None else out
        folder.mkdir(parents=True, exist_ok=True)
        if text is not None:
            _draw_activations(estimator, text, folder)
        if gradients:
            _draw_gradients(estimator, text, folder)
        if diagram:
            _draw_diagram(estimator, folder)
        if curves:
            from unspool.study import plot_learning_curves

            plot_learning_curves(folder / "curves.png", estimator)
            typer.echo(f"Loss and gradient norm over the epochs: {folder / 'curves.png'}.")


def _print(estimator: Any) -> None:
    from unspool.errors import EngineError
    from unspool.explain import equations

    typer.echo(estimator.summary())
    typer.echo("\nOne step of the cell:")
    try:
        typer.echo(equations(*_cell(estimator)))
    except EngineError as error:
        typer.echo(str(error))
    typer.echo()
    if estimator.input_.kind == "text":
        encoder = estimator.input_.encoder
        kind = "words" if encoder.level == "word" else "characters"
        typer.echo(
            f"Vocabulary: {len(encoder.words_):,} {kind}, most frequent: {' '.join(encoder.words_[:12])}"
        )
    if hasattr(estimator, "classes_"):
        task: Any = getattr(estimator, "task_", None)
        what = "Labels" if hasattr(task, "thresholds") else "Classes"
        typer.echo(f"{what}: {', '.join(map(str, estimator.classes_))}")
        if getattr(task, "temperature", 1.0) != 1.0:
            typer.echo(f"Temperature of the probabilities, of held-back rows: {task.temperature:.3g}")
    print_training(estimator)


def print_training(estimator: Any) -> None:
    """The settings of a saved model, and its epochs."""
    from unspool.cli.console import print_table
    from unspool.evaluation.metrics import shown

    print_table(("setting", "value"), [(name, str(value)) for name, value in estimator.get_params().items()])
    history = estimator.history_
    columns = [name for name in history[0] if name != "learning_rate"]  # a setting, the same in every epoch
    rows = [[shown(epoch[name]) for name in columns] for epoch in history]
    for row, epoch in zip(rows, history, strict=True):
        row[0] += " *" if epoch["epoch"] == estimator.best_epoch_ else "  "
    print_table([name.replace("_", " ") for name in columns], rows)
    typer.echo(f"* the epoch whose weights are kept{' (interrupted)' if estimator.interrupted_ else ''}")


def _cell(estimator: Any) -> tuple[Any, int]:
    """The first layer's cell and the features of its input."""
    embedding = estimator.network_.embedding
    width = getattr(embedding, "output_size", None) or getattr(embedding, "embedding_dim", None)
    return estimator.network_.stack.layers[0].cell, width or estimator.input_.n_features


def _draw_activations(estimator: Any, text: str, folder: Path) -> None:
    from unspool.explain import activations, plot_activations
    from unspool.explain.locate import layer_count

    tokens = estimator.input_.encoder.tokens(text)
    directions = (False, True) if estimator.bidirectional else (False,)
    for layer in range(1, layer_count(estimator) + 1):
        for backward in directions:
            values = activations(estimator, text, layer, backward)
            name = f"layer {layer}{', from the end' if backward else ''}"
            path = folder / f"activations-{layer}{'-backward' if backward else ''}.png"
            plot_activations(path, values, tokens, f"{estimator.cell}, {name}")
            typer.echo(f"Gates and state of {name}: {path}.")


def _draw_gradients(estimator: Any, text: str | None, folder: Path) -> None:
    """The first layer as trained, a fresh one, and fresh plain, GRU and LSTM cells of its width, on the same input."""
    from unspool import cells
    from unspool.explain import gradient_flow, layer_input, plot_gradient_flow

    cell = estimator.network_.stack.layers[0].cell
    named = {f"{estimator.cell}, trained": cell}
    fresh = dict.fromkeys(
        [estimator.cell, *(name for name in ("rnn", "gru", "lstm") if name in cells.names())]
    )
    named |= {f"{name}, fresh": name for name in fresh}
    sequences = _random_tokens(estimator) if text is None else [text]
    flow = gradient_flow(named, layer_input(estimator, sequences), hidden_size=_hidden(cell))
    path = folder / "gradients.png"
    where = (
        "100 random steps" if text is None else f"the {flow.norms[next(iter(named))].shape[1]} tokens given"
    )
    plot_gradient_flow(path, flow, f"Gradient of the last output of layer 1, over {where}")
    typer.echo(f"How far back in time gradients reach, over {where}: {path}.")


def _hidden(cell: Any) -> int:
    from unspool.state import flatten

    return int(flatten(cell.initial_state(1))[0].shape[1])


def _random_tokens(estimator: Any, count: int = 16, length: int = 100) -> Any:
    """Texts of random words of the vocabulary, random ids, or N(0, 1) series in the model's own scale."""
    import numpy as np

    random = np.random.RandomState(0)
    source = estimator.input_
    if source.kind == "text":
        words = source.encoder.words_
        joint = " " if source.encoder.level == "word" else ""
        return [joint.join(words[k] for k in random.randint(len(words), size=length)) for _ in range(count)]
    if source.kind == "ids":
        return list(random.randint(1, max(2, source.vocabulary_size), (count, length)))
    if source.kind == "audio":
        from unspool.signals import Sound

        rate = source.rate
        return [Sound(random.randn(rate).astype("float32"), rate) for _ in range(count)]
    values = random.randn(count, length, source.n_features)
    return list(values * np.array(source.scale) + np.array(source.mean))


def _draw_diagram(estimator: Any, folder: Path) -> None:
    from unspool.explain import diagram

    cell, features = _cell(estimator)
    diagram(cell, folder / "cell.svg", features)
    typer.echo(f"Data flow of one step of the cell: {folder / 'cell.svg'}.")

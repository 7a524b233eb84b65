"""Commands of a kind of model: `unspool fit --task KIND`, and any command that gets a saved model of its class."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from typing import Any

import typer

from unspool.errors import DataError, ModelFileError, check_choice

#: (command, kind) -> "module:function" of the typer command that does it. A kind not named here, or a command that
#: is not, has the common one (regression, classification).
COMMANDS: dict[tuple[str, str], str] = {
    ("fit", "tagging"): "unspool.cli.tagging:fit",
    ("predict", "tagging"): "unspool.cli.tagging:predict",
    ("evaluate", "tagging"): "unspool.cli.tagging:evaluate",
    ("inspect", "tagging"): "unspool.cli.inspect:inspect",
    ("stream", "tagging"): "unspool.cli.stream:stream",
    ("stream", "generation"): "unspool.cli.stream:stream",
    ("fit", "forecasting"): "unspool.cli.forecasting:fit",
    ("predict", "forecasting"): "unspool.cli.forecasting:predict",
    ("evaluate", "forecasting"): "unspool.cli.forecasting:evaluate",
    ("inspect", "forecasting"): "unspool.cli.forecasting:inspect",
    ("fit", "generation"): "unspool.cli.generation:fit",
    ("evaluate", "generation"): "unspool.cli.generation:evaluate",
    ("inspect", "generation"): "unspool.cli.generation:inspect",
    ("fit", "seq2seq"): "unspool.cli.seq2seq:fit",
    ("predict", "seq2seq"): "unspool.cli.seq2seq:predict",
    ("evaluate", "seq2seq"): "unspool.cli.seq2seq:evaluate",
    ("inspect", "seq2seq"): "unspool.cli.seq2seq:inspect",
    ("generate", "generation"): "unspool.cli.generate:generate",
    ("predict", "imported"): "unspool.cli.import_:predict",
    ("inspect", "imported"): "unspool.cli.import_:inspect",
    **{
        ("export", kind): "unspool.cli.export:export"
        for kind in ("tagging", "forecasting", "generation", "seq2seq")
    },
    **{
        ("compare", kind): f"unspool.cli.compare_kinds:{kind}"
        for kind in ("tagging", "forecasting", "generation", "seq2seq", "signals")
    },
    **{
        ("shrink", kind): "unspool.cli.shrink:shrink"
        for kind in ("tagging", "forecasting", "generation", "seq2seq")
    },
    **{
        ("serve", kind): "unspool.cli.serve:serve"
        for kind in ("tagging", "forecasting", "generation", "seq2seq", "imported")
    },
    ("fit", "signals"): "unspool.cli.signals:fit",
    ("predict", "signals"): "unspool.cli.signals:predict",
    ("evaluate", "signals"): "unspool.cli.signals:evaluate",
    ("tune", "signals"): "unspool.cli.tune_signals:tune",
}

#: The class of a saved model -> its kind.
CLASSES: dict[str, str] = {
    "SequenceTagger": "tagging",
    "Forecaster": "forecasting",
    "SequenceGenerator": "generation",
    "Seq2Seq": "seq2seq",
    "ImportedModel": "imported",
}

#: Ends of the names of files that are no tables -> what is learnt from them.
NO_TABLES: dict[str, str] = {
    **dict.fromkeys((".conll", ".conllu", ".iob", ".bio"), "for the tags of its words say --task tagging"),
    ".arff": "save the table of Weka as CSV, or the series as a .ts file",
    **dict.fromkeys(
        (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif"),
        "to learn from recordings give the folder they are in",
    ),
    ".txt": "to learn how its text goes on say --task generation; of a table name --format and --input",
}

#: Files of series.
SERIES = (".ts", ".npy", ".npz")


def command_for(name: str, arguments: Sequence[str]) -> Any | None:
    """The command that `unspool NAME ARGUMENTS` is for; None for the common one.

    Raises `DataError` for a saved model of a kind that NAME cannot work with.
    """
    if name == "import":  # a model among its arguments is the one that is replaced
        return None
    if name in ("fit", "compare", "tune"):
        kind = _kind_of_job(arguments)
    else:
        if name in ("predict", "evaluate") and arguments and not arguments[0].startswith("-"):
            check_there(arguments[0])
        kind = _kind_of_model(arguments)
    if kind is None:
        return None
    if (name, kind) in COMMANDS:
        return _load(COMMANDS[name, kind], name)
    if kind in CLASSES.values() and name != "bench":
        able = ", ".join(sorted(command for command, of in COMMANDS if of == kind))
        raise DataError(f"unspool {name} does not work with the task {kind!r}. It has: {able}.")
    return None


def check_there(model: str) -> None:
    """`ModelFileError` where nothing is at the model's path, before its options are asked for, or stdin."""
    if not os.path.exists(os.path.expanduser(model)):
        raise ModelFileError(f"Cannot load the model {model!r}: there is nothing at this path.")


def _kind_of_job(arguments: Sequence[str]) -> str | None:
    """By --input-kind or --task, or what the first argument is: series and recordings are in no table of texts."""
    if any(argument.split("=")[0] == "--input-kind" for argument in arguments):
        return "signals"
    task = _task(arguments)
    if ("fit", task) in COMMANDS:
        return task
    if task is not None:
        from unspool.tasks import registry

        kinds = [kind for name, kind in COMMANDS if name == "fit" and kind != "signals"]
        check_choice("unspool", "task", task, ("auto", *registry, *kinds))
    first = os.path.expanduser(arguments[0]) if arguments else ""
    end = os.path.splitext(first)[1].lower()
    if (
        task is None
        and end in NO_TABLES
        and not any(a.split("=")[0] in ("--input", "--help") for a in arguments)
    ):
        raise DataError(f"{arguments[0]!r} is no table: {NO_TABLES[end]}.")
    if os.path.isdir(first) and any(a.split("=")[0] == "--input" for a in arguments):
        raise DataError(f"{arguments[0]!r} is a folder: with --input give the path of one table.")
    return "signals" if first.lower().endswith(SERIES) or (first and os.path.isdir(first)) else task


def _task(arguments: Sequence[str]) -> str | None:
    for before, argument in zip(["", *arguments], arguments):
        if before == "--task":
            return argument
        if argument.startswith("--task="):
            return argument.removeprefix("--task=")
    return None


def _kind_of_model(arguments: Sequence[str]) -> str | None:
    """Of the first argument that is a saved model."""
    from unspool import saved

    for argument in arguments:
        path = os.path.expanduser(argument)
        if argument.startswith("-") or not (os.path.isdir(path) or path.lower().endswith(".zip")):
            continue
        try:
            content = saved.content_of(path)
            kind = CLASSES.get(content.get("class", str))
            if kind is None and content.child("input").get("kind", str) in ("series", "audio"):
                kind = "signals"
            return kind
        except ModelFileError:
            continue
    return None


def _load(place: str, name: str) -> Any:
    """The typer command of a function."""
    module, function = place.split(":")
    app = typer.Typer(add_completion=False)
    app.command(name)(getattr(importlib.import_module(module), function))
    return typer.main.get_command(app)

"""The commands, and what becomes of an error: one line on stderr and an exit code."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from unspool import __version__
from unspool.cli.bench import bench
from unspool.cli.compare import compare
from unspool.cli.doctor import doctor
from unspool.cli.ending import Ended, end_tidily
from unspool.cli.evaluate import evaluate
from unspool.cli.export import export
from unspool.cli.fit import fit
from unspool.cli.generate import generate
from unspool.cli.import_ import import_
from unspool.cli.inspect import inspect
from unspool.cli.kinds import command_for
from unspool.cli.options import DEBUG, INTERRUPTED, SAVED
from unspool.cli.predict import predict
from unspool.cli.serve import serve
from unspool.cli.shrink import shrink
from unspool.cli.stream import stream
from unspool.cli.tune import tune
from unspool.cli.wording import worded
from unspool.errors import DataError, UnspoolError
from unspool.files import FULL, system_error
from unspool.ranks import ParallelError, under_torchrun

ERROR = 2
#: Commands of which a signal leaves nothing half-written; fit and serve end in their own way, studies keep their runs.
WRITING = ("predict", "generate", "evaluate", "export", "import", "shrink")
COMMAND = "unspool.command"  # key of the context's meta
# typer carries its own copy of click from some version on; this is the right UsageError in either.
USAGE_ERROR: Any = typer.BadParameter.__mro__[1]


def say(kind: str, message: object) -> None:
    """One line on stderr: "error: ...". Of several ranks only the first tells more than errors."""
    rank, _ = under_torchrun()
    if rank and kind != "error":
        return
    typer.echo(f"{f'rank {rank}: ' if rank else ''}{kind}: {' '.join(str(message).split())}", err=True)


def describe(error: Exception, command: Any = None) -> str | None:
    """The line for an error that the user can mend, in the words of a command's options; None for any other."""
    if isinstance(error, UnspoolError):
        return worded(error, command)
    code = system_error(error) if isinstance(error, OSError) else None
    if isinstance(error, OSError) and code not in (None, errno.EPIPE):
        reason = error.strerror or os.strerror(code)
        what = f"{reason}: {error.filename}" if error.filename else reason
        if code in FULL:
            return f"{what}. Nothing half-written was left behind. Free some space and run the command again."
        return f"{what}."
    return None


def _flush() -> None:
    """What was printed goes out now, while an error of it can still be told."""
    if sys.stdout.closed:
        return
    try:
        sys.stdout.flush()
    except OSError:
        # Python flushes once more when it ends: into nothing, so that the error is told once.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def _quiet_other_ranks() -> None:
    if under_torchrun()[0]:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115


class Commands(TyperGroup):
    """Turns errors into one line and exit code 2, Ctrl-C into exit code 130, SIGTERM and SIGHUP into 143 and 129 where
    files are written; `--debug` lets errors through."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command, or that of the task or saved model that its arguments name."""
        name, command, rest = super().resolve_command(ctx, args)
        if name != "fit" and under_torchrun()[1] > 1:
            raise ParallelError(
                f"Under torchrun only fit runs in several processes. Got {name}: start it alone."
            )
        if name in WRITING:
            ctx.call_on_close(end_tidily())
        ctx.meta[COMMAND] = command
        ctx.meta[COMMAND] = command_for(name or "", rest) or command
        return name, ctx.meta[COMMAND], rest

    def invoke(self, ctx: Any) -> Any:
        with warnings.catch_warnings():
            told: set[str] = set()

            def tell(message: Warning | str, *_: Any, **__: Any) -> None:
                words = worded(message, ctx.meta.get(COMMAND))
                if words not in told:
                    told.add(words)
                    say("warning", words)

            warnings.showwarning = tell
            try:
                if sys.stdout is None:  # the next file that is opened would take its number
                    raise DataError(
                        "stdout is closed. Send it to a file, or to /dev/null if it is not wanted."
                    )
                _quiet_other_ranks()
                result = super().invoke(ctx)
                _flush()
                return result
            except USAGE_ERROR as error:
                command = error.ctx.command_path if error.ctx else ctx.command_path
                say("error", f"{error.format_message()} See '{command} --help'.")
                raise typer.Exit(ERROR) from None
            except Ended:
                say("ended", ctx.meta.get(SAVED, "nothing was saved."))
                raise
            except KeyboardInterrupt:
                if ctx.meta.get(DEBUG):
                    raise
                say("interrupted", ctx.meta.get(SAVED, "nothing was saved."))
                raise typer.Exit(INTERRUPTED) from None
            except Exception as error:
                line = describe(error, ctx.meta.get(COMMAND))
                if line is None or ctx.meta.get(DEBUG):
                    raise
                say("error", line)
                raise typer.Exit(ERROR) from None


app = typer.Typer(
    cls=Commands,
    help="Recurrent networks on sequences of uneven length.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"unspool {__version__}, Python {sys.version.split()[0]}")
        raise typer.Exit


@app.callback()
def unspool(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Recurrent networks on sequences of uneven length."""


for command in (
    fit,
    compare,
    tune,
    predict,
    generate,
    stream,
    evaluate,
    export,
    inspect,
    shrink,
    serve,
    bench,
    doctor,
):
    app.command()(command)
app.command("import")(import_)

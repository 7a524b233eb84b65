"""`unspool serve`: saved models behind an address."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from unspool.cli.options import Debug, Weights
from unspool.errors import DataError


def serve(
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL...", help="Saved models: PATH, or NAME=PATH.", show_default=False),
    ],
    host: Annotated[
        str, typer.Option(help="The address to listen at; others than this machine's need a token.")
    ] = ("127.0.0.1"),
    port: Annotated[int, typer.Option(help="0: any free one.", min=0, max=65535)] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="UNSPOOL_TOKEN",
            help="What each request must bear: Authorization: Bearer TOKEN. Better in the environment.",
            show_default=False,
            show_envvar=True,
        ),
    ] = None,
    weights: Weights = "float32",
    delay: Annotated[
        float,
        typer.Option(help="Milliseconds that a request waits for others while the model is idle.", min=0),
    ] = 2.0,
    batch: Annotated[int, typer.Option(help="Sequences computed together.", min=1)] = 512,
    queue: Annotated[
        int, typer.Option(help="Sequences that may wait for a model; 429 beyond.", min=1)
    ] = 16_384,
    sessions: Annotated[int, typer.Option(help="Streams that may be open; 429 beyond.", min=1)] = 10_000,
    idle: Annotated[
        float, typer.Option(help="Hours after which an unused stream is forgotten.", min=0)
    ] = 6.0,
    max_body: Annotated[float, typer.Option(help="Megabytes of a request; 413 beyond.", min=0)] = 64.0,
    max_rows: Annotated[int, typer.Option(help="Sequences of a request; 413 beyond.", min=1)] = 4096,
    max_steps: Annotated[
        int, typer.Option(help="Steps of a sequence, characters of a text; 413 beyond.", min=1)
    ] = 100_000,
    debug: Debug = False,
) -> None:
    """Serve models by the Open Inference Protocol v2, with streams and a page to try them.

    unspool serve model

    UNSPOOL_TOKEN=$(openssl rand -hex 24) unspool serve mood=model.zip topic=other --host 0.0.0.0

    SIGTERM or Ctrl-C finishes what was taken; SIGHUP loads the models anew.
    """
    try:
        from unspool.serve import Limits, Service, named_paths
        from unspool.serve import serve as run
        from unspool.serve.guard import check_token
    except ModuleNotFoundError as error:
        raise DataError(f"unspool serve needs {error.name}: pip install 'unspool[serve]'.") from error
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.WARNING)
    check_token(token, host)
    limits = Limits(
        body=int(max_body * 2**20),
        rows=max_rows,
        steps=max_steps,
        queue=queue,
        sessions=sessions,
        idle=idle * 3600,
        batch=batch,
        delay=delay / 1000,
    )

    service = Service(named_paths(models), limits, token, weights)
    for version in service.repository.versions():
        typer.echo(f"{version.served.name}: {version.served.model.describe()}")

    def ready(url: str) -> None:
        typer.echo(f"Listening at {url} - Ctrl-C stops.")
        sys.stdout.flush()

    run(service, host, port, ready)
    typer.echo("Stopped.")

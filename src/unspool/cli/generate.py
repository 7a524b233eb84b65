"""`unspool generate`: a saved language model writes on, to stdout, as its tokens come."""

from __future__ import annotations

import secrets
from typing import Annotated

import typer

from unspool.cli.options import Debug, Model, Weights, load_model
from unspool.errors import DataError


def generate(
    model: Model,
    prompt: Annotated[str, typer.Option(help="The beginning of the text.", show_default=False)] = "",
    max_new_tokens: Annotated[int, typer.Option(help="Tokens at most.")] = 200,
    sample: Annotated[
        bool | None,
        typer.Option(
            "--sample/--no-sample",
            help="Draw each token, or take the likeliest. Default: draw, but with beams.",
            show_default=False,
        ),
    ] = None,
    temperature: Annotated[
        float, typer.Option(help="Below 1 safer, above 1 more varied; 0: no chance.")
    ] = 1.0,
    top_k: Annotated[
        int | None, typer.Option(help="Only of the k likeliest tokens. Default: of all.", show_default=False)
    ] = None,
    top_p: Annotated[float, typer.Option(help="Only of the likeliest tokens that reach this share.")] = 1.0,
    num_beams: Annotated[int, typer.Option(help="More than 1: search for the likeliest text.")] = 1,
    num_return_sequences: Annotated[int, typer.Option(help="Texts.")] = 1,
    repetition_penalty: Annotated[float, typer.Option(help="Above 1: less of what is there already.")] = 1.0,
    stop: Annotated[
        list[str] | None, typer.Option(help="End before this text; repeat it.", show_default=False)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="For the same text each time. Default: another.", show_default=False)
    ] = None,
    weights: Weights = "float32",
    debug: Debug = False,
) -> None:
    """Write on from a prompt with a model of `unspool fit --task generation`.

    The prompt and what follows it go to stdout as they come; several texts, and those of beams, when they are done,
    with a line of --- between them.

    unspool generate model --prompt "ROMEO:" --max-new-tokens 500 --temperature 0.8
    """
    made = load_model(model, "float32")
    if not hasattr(made, "generate"):
        raise DataError(
            f"unspool generate needs a model of `unspool fit --task generation`. Got a {type(made).__name__}."
        )
    made = made if weights == "float32" else made.freeze(weights)
    stops, seed = stop or None, secrets.randbits(32) if seed is None else seed
    if num_beams == 1 and num_return_sequences == 1:
        pieces = made.stream(
            prompt,
            max_new_tokens,
            do_sample=sample is not False,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            repetition_penalty=repetition_penalty,
            stop=stops,
            random_state=seed,
        )
        typer.echo(prompt, nl=False)
        for piece in pieces:
            typer.echo(piece, nl=False)
        typer.echo()
        return
    texts = made.generate(
        prompt,
        max_new_tokens,
        sample,
        temperature,
        top_k,
        top_p,
        num_beams,
        num_return_sequences,
        repetition_penalty,
        stops,
        seed,
    )
    several = texts if isinstance(texts, list) else [texts]
    typer.echo("\n---\n".join(prompt + text for text in several))

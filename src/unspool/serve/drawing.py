"""What a served model does over one sequence, its gates or its attention, for the page that draws them."""

from __future__ import annotations

from typing import Any

import numpy as np

from unspool.errors import EngineError
from unspool.explain.activity import activations
from unspool.explain.locate import layer_count
from unspool.serve.errors import RequestError
from unspool.serve.limits import Limits
from unspool.serve.served import Served
from unspool.serve.tensors import from_json

_FIELDS = ("sequence", "layer", "backward")


def activity(served: Served, asked: Any, limits: Limits) -> dict[str, Any]:
    """Of gates, tokens: a name a step; layers, directions: how many there are; gates: name -> (T, H) lists, rounded.
    Of attention, tokens: of the source; written: the tokens of the answer and its end; attention: (written, tokens).

    asked: {"sequence": a text or a list of steps, "layer": 1, "backward": false}, the latter two of gates. Raises
    `RequestError`: 413 for more than `drawn` steps, 422 for a layer or a sequence that the model has not.
    """
    if not isinstance(asked, dict) or "sequence" not in asked or set(asked) - set(_FIELDS):
        raise RequestError(
            400, "The body must be an object with 'sequence', and may have 'layer' and 'backward'."
        )
    if not served.drawn:
        raise RequestError(
            422,
            "Gates are drawn of models of numbers and classes, attention of texts to texts. "
            f"{served.name!r} is another.",
        )
    if served.drawn == "attention":
        return _attention(served, asked, limits)
    layer, backward = asked.get("layer", 1), asked.get("backward", False)
    count, directions = layer_count(served.model), 2 if served.model.bidirectional else 1
    if type(layer) is not int or not 1 <= layer <= count:
        raise RequestError(422, f"'layer' must be an int in [1, {count}]. Got {layer!r:.40}.")
    if type(backward) is not bool or (backward and directions == 1):
        raise RequestError(
            422, f"'backward' must be {'a bool' if directions == 2 else 'false'}. Got {backward!r:.40}."
        )
    if served.text_column is not None:
        raise RequestError(422, "Gates are not drawn of a model with further columns.")
    sequence, tokens = _sequence(served, asked["sequence"])
    _check_length(len(tokens), limits)
    try:
        found = activations(served.model, sequence, layer, backward)
    except EngineError as error:
        raise RequestError(422, f"The gates of this cell cannot be drawn. {error}") from error
    gates = {name: np.nan_to_num(np.round(values, 4)).tolist() for name, values in found.items()}
    return {"tokens": tokens, "layers": count, "directions": directions, "gates": gates}


def _attention(served: Served, asked: dict[str, Any], limits: Limits) -> dict[str, Any]:
    if set(asked) != {"sequence"} or not isinstance(asked["sequence"], str):
        raise RequestError(422, "The body must hold a 'sequence', a text, alone: attention has no layers.")
    (text,) = from_json("sequence", "BYTES", (1,), [asked["sequence"]]).tolist()
    _check_length(len(served.model.source_.tokens(text)), limits)
    tokens, written, weights = served.model.align(text)
    return {"tokens": tokens, "written": [*written, "end"], "attention": np.round(weights, 4).tolist()}


def _check_length(steps: int, limits: Limits) -> None:
    if not 0 < steps <= limits.drawn:
        raise RequestError(413 if steps else 422, f"1 to {limits.drawn} steps are drawn. Got {steps}.")


def _sequence(served: Served, given: Any) -> tuple[Any, list[str]]:
    """(as `activations` takes it, a name for each step)."""
    if served.kind == "text":
        if not isinstance(given, str):
            raise RequestError(422, "'sequence' must be a text.")
        texts = from_json("sequence", "BYTES", (1,), [given]).tolist()
        return texts[0], served.model.input_.encoder.tokens(texts[0])
    if not isinstance(given, list):
        raise RequestError(422, "'sequence' must be a list of steps.")
    if served.kind == "ids":
        ids = from_json("sequence", "INT64", (len(given),), given)
        return ids, [str(i) for i in ids.tolist()]
    width = served.model.input_.n_given
    values = from_json("sequence", "FP64", (len(given), width), given)
    return values, [str(k + 1) for k in range(len(values))]

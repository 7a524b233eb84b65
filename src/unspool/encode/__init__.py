"""Raw sequences to a Ragged of numbers, and back: a registry of encoders, one file each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unspool.encode.audio import AudioInput
from unspool.encode.base import Input
from unspool.encode.characters import CharacterEncoder
from unspool.encode.columns import Columns, read_rows
from unspool.encode.ids import IdInput
from unspool.encode.reading import Raw, read_input
from unspool.encode.series import SeriesInput
from unspool.encode.text import TextInput
from unspool.saved.fields import Fields

__all__ = [
    "AudioInput",
    "CharacterEncoder",
    "Columns",
    "IdInput",
    "Input",
    "Raw",
    "SeriesInput",
    "TextInput",
    "input_from_fields",
    "new_input",
    "read_input",
    "read_rows",
]

#: Kind of raw input -> its encoder.
registry: dict[str, type[Input]] = {cls.kind: cls for cls in (TextInput, IdInput, SeriesInput, AudioInput)}


def new_input(kind: str, settings: Mapping[str, Any]) -> Input:
    """An encoder for raw input of this kind, not yet fitted. settings: the estimator's parameters."""
    return registry[kind].new(settings)


def input_from_fields(fields: Fields) -> Input:
    """The encoder whose `to_dict` was saved; `ModelFileError` where the fields do not hold."""
    return registry[fields.choice("kind", registry)].from_fields(fields)

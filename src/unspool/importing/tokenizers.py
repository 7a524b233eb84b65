"""The tokenizer that a network was trained with, from its JSON."""

from __future__ import annotations

import json
import os

from unspool.errors import ModelFileError
from unspool.text import Tokenizer, tokenizer_from_json

MAX_TOKENIZER = 256 * 2**20  # bytes


def read_tokenizer(source: Tokenizer | str | os.PathLike[str] | None) -> Tokenizer | None:
    """The tokenizer in the file `source` (Keras' or our `to_json`); one that is given as it is, and None, come back."""
    if source is None or isinstance(source, Tokenizer):
        return source
    name = os.fspath(source)
    try:
        with open(os.path.expanduser(name), encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_size > MAX_TOKENIZER:
                raise ModelFileError(f"The tokenizer {name!r} is larger than {MAX_TOKENIZER // 2**20} MiB.")
            return tokenizer_from_json(_unwrapped(file.read()))
    except OSError as error:
        raise ModelFileError(f"The tokenizer {name!r} cannot be read ({error.strerror or error}).") from error
    except UnicodeDecodeError as error:
        raise ModelFileError(f"The tokenizer {name!r} is not UTF-8 text.") from error
    except RecursionError as error:
        raise ModelFileError(f"The tokenizer {name!r} is nested too deeply.") from error


def _unwrapped(text: str) -> str:
    """The usual recipe writes `json.dumps(tokenizer.to_json())`: JSON in a JSON text."""
    try:
        found = json.loads(text)
    except ValueError:
        return text
    return found if isinstance(found, str) else text

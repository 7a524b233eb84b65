"""Saved imported models that were changed: one `ModelFileError` that says where."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import unspool
from unspool.errors import ModelFileError
from unspool.importing import from_keras
from unspool.saved.document import encode

from .reference import references, write_h5


@pytest.mark.usefixtures("read_within")
@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("nodes",), [], "1 to 10,000 layers"),
        (("nodes", 0, "kind"), "lambda", "'kind' must be one of"),
        (("nodes", 0, "inputs"), [0], "cannot read the layers"),
        (("nodes", 0, "inputs"), [-2], "cannot read the layers"),
        (("nodes", 1, "inputs"), [0, 0], "first states must be rows"),
        (("nodes", 2, "inputs"), [0, 0], "cannot read the layers"),
        (("nodes", 2, "same_as"), 1, "cannot be the layer 1"),
        (("nodes", 1, "same_as"), 1, "cannot be the layer 1"),
        (("nodes", 1, "settings", "cells"), [], "one cell or two"),
        (("nodes", 1, "settings", "cells", 0, "cell"), "os", "'cell' must be one of"),
        (("nodes", 1, "settings", "cells", 0, "hidden_size"), 10**9, "tensor .* must be float32|do not make"),
        (("nodes", 1, "settings", "cells", 0, "extra"), 1, "'extra' that its cell does not take"),
        (("nodes", 1, "settings", "cells", 0, "activation"), "mine", "activation"),
        (("nodes", 0, "settings", "vocabulary"), 2**40, "'vocabulary' must be an int in"),
        (("nodes", 0, "settings", "vocabulary"), 2**30, "must be float32"),
        (("nodes", 2, "settings", "units"), 0, "'units' must be an int in"),
        (("nodes", 2, "settings", "activation"), "mine", "'activation' must be one of"),
        (("inputs", 0, "kind"), "series", "1 to 1,048,576 features"),
        (("inputs", 0), {"name": "a", "kind": "row", "features": 3}, "no field 'padding'"),
        (("inputs", 0, "kind"), "text", "'kind' must be one of"),
        (("inputs",), [], "cannot read the layers"),
        (("inputs", 0, "padding", "maxlen"), 10**9, "'maxlen' parameter"),
        (("inputs", 0, "padding", "padding"), "left", "'padding' must be one of"),
        (("inputs", 0, "tokenizer"), {}, "Tokenizer"),
        (("outputs",), [], "its outputs must be"),
        (("outputs", 0, "node"), 9, "its outputs must be layers"),
        (("source",), {"a": 1}, "'source' must hold texts"),
    ],
)
def test_saved_models(keys: tuple[Any, ...], value: Any, message: str, tmp_path: Path) -> None:
    from_keras(write_h5(references()["lstm"], tmp_path / "m.h5")).save(tmp_path / "m")
    content = json.loads((tmp_path / "m" / "model.json").read_bytes())
    del content["checksums"]
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    weights = (tmp_path / "m" / "weights.safetensors").read_bytes()
    (tmp_path / "m" / "model.json").write_bytes(encode(content, weights))
    with pytest.raises(ModelFileError, match="Cannot load the model") as caught:
        unspool.load(tmp_path / "m")
    assert re.search(message, str(caught.value)), str(caught.value)

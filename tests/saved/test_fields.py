"""Values of files are taken by their exact types."""

from __future__ import annotations

from typing import Any

import pytest

from unspool.errors import ModelFileError
from unspool.saved import Fields


@pytest.mark.parametrize(
    "value, kind, taken",
    [(3, int, 3), (3, float, 3.0), (True, bool, True), ("a", str, "a"), ([1], list, [1])],
)
def test_taken(value: Any, kind: type, taken: Any) -> None:
    found = Fields({"a": value}, "x").get("a", kind)
    assert found == taken and type(found) is type(taken)


@pytest.mark.parametrize(
    "value, kind", [(True, int), (1, bool), (1.0, int), (True, float), (None, str), ("1", int)]
)
def test_of_another_type(value: Any, kind: type) -> None:
    with pytest.raises(ModelFileError, match="'a'"):
        Fields({"a": value}, "x").get("a", kind)
    with pytest.raises(ModelFileError, match="'a'"):
        Fields({"a": [value]}, "x").items("a", kind)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_no_number(value: float) -> None:
    with pytest.raises(ModelFileError, match="'a'"):
        Fields({"a": [1, value]}, "x").items("a", float)

"""Cases of the matrix that once failed, one of a kind: `python -m tests.boundary --only NAME` is one by itself."""

from __future__ import annotations

import pytest

from .given import Case
from .verdict import judge

FOUND = [
    "lstm | backward twice | x mkldnn | later",  # calls that are ready made views before they looked
    "lstm | anomaly | state sparse | later",
    "frozen step | calm | state sparse | first",
    "frozen step | calm | x negative bit | first",
    "indexed | dispatch mode | offsets a list | first",
    "indexed | vmap | state of one part less | first",
    "indexed | func.grad | x mkldnn | first",
    "indexed | func.grad | index a list | later",
    "indexed | func.grad | index meta | later",
    "indexed | func.vjp | index negative | later",
    "indexed | functionalize | index beyond the end | first",
    "indexed | dispatch mode | index every second number | first",
    "frozen lstm | autocast float16 | state bool | later",
    "indexed | dispatch mode | index meta | later",
    "indexed | dispatch mode | offsets meta | first",
    "indexed | func.grad | offsets float | later",
    "indexed | fake input | offsets none at all | first",
    "gru | compile eager | weights sparse | first",
    "indexed | compile eager | index meta | first",
    "step | export | state no columns | first",
    "step | export | layer on meta | first",
    "gru | second derivative | weights replaced before backward | first",
]


@pytest.mark.parametrize("name", FOUND)
def test_case(name: str) -> None:
    verdict = judge(Case.of(name))
    assert not verdict.startswith("fault"), verdict

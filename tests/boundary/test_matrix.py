"""Calls in every surrounding and with every disturbance: torch's numbers or one clear error, and no crash.

A sample; `make matrix` runs the whole product.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .known import listed
from .matrix import cases, sample
from .processes import run

pytestmark = pytest.mark.xdist_group("matrix")  # one process that runs them all

SAMPLE = [case.name for case in sample()]


@pytest.fixture(scope="session")
def verdicts(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Of every case that was chosen: they run side by side, so all of them before the first is looked at."""
    chosen = [
        item.callspec.params["name"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname == "test_case"
    ]
    yield dict(run([("tests.boundary.matrix", "verdict", name) for name in chosen]))


@pytest.mark.parametrize("name", SAMPLE)
def test_case(name: str, verdicts: dict[str, str]) -> None:
    verdict, reason = verdicts[name], listed().get(name)
    if reason is None:
        assert not verdict.startswith("fault"), verdict
    elif verdict.startswith("fault"):
        pytest.xfail(reason)
    else:
        pytest.fail(f"{name} passes ({verdict}): take it out of known.txt")


@pytest.mark.parametrize("axis", ["subject", "surrounding", "disturbance", "when"])
def test_the_sample_has_all_values_of_each_axis(axis: str) -> None:
    assert {getattr(case, axis) for case in sample()} == {getattr(case, axis) for case in cases()}


def test_known_cases_exist() -> None:
    whole = {case.name for case in cases()}
    assert not set(listed()) - whole

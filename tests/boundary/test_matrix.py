"""Calls in every surrounding and with every disturbance: torch's numbers or one clear error, and no crash.

A sample; `make matrix` runs every two values of any two axes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import pytest

from .disturbances import DISTURBANCES
from .given import Case
from .known import listed
from .matrix import cases, pairs, sample
from .processes import run
from .subjects import SUBJECTS
from .surroundings import ALL as SURROUNDINGS

pytestmark = pytest.mark.xdist_group("matrix")  # one process that runs them all

VALUES = {
    "subject": list(SUBJECTS),
    "surrounding": [surrounding.name for surrounding in SURROUNDINGS],
    "disturbance": list(DISTURBANCES),
    "when": ["first", "later"],
}
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


def test_the_sample_has_all_values_of_each_axis() -> None:
    chosen = sample()
    for axis, values in VALUES.items():
        assert {getattr(case, axis) for case in chosen} == set(values)


def test_pairs_have_every_two_values() -> None:
    def values(chosen: Iterable[Case]) -> set[tuple[str, ...]]:
        return {
            pair
            for case in chosen
            for pair in itertools.combinations(
                (case.subject, case.surrounding, case.disturbance, case.when), 2
            )
        }

    chosen = pairs()
    assert len(chosen) < 10_000
    assert values(chosen) == values(cases())


def test_known_cases_exist() -> None:
    whole = {case.name for case in cases()}
    assert not set(listed()) - whole

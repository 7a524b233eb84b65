"""The server against its own description: what schemathesis makes of it is answered as it says."""

from __future__ import annotations

import httpx
import pytest

pytest.importorskip("schemathesis")
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance
from tests.serve.conftest import running

from unspool.serve import Service


def test_it_describes_every_path(url, service) -> None:
    described = httpx.get(f"{url}/openapi.json").json()["paths"]
    shown = {path.replace("{model}", "score") for path in described}
    for _, path, _ in _table(service):
        plain = path.replace("{model}", "score")
        if (
            "{version}" not in path
            and not path.endswith("/load")
            and path not in ("/", "/docs", "/openapi.json")
        ):
            assert plain in shown or plain.replace("/activity", "") in shown, path


def _table(service):
    from unspool.serve.app import _table as table
    from unspool.serve.pages import Pages

    class Anything:
        def __getattr__(self, name: str) -> str:
            return name

    return table(Anything(), Pages(service.repository, token=False))


# A shape and its data have to agree, which a JSON Schema cannot say: requests that fit it may get 422.
SIZES = [positive_data_acceptance]


@pytest.fixture(scope="module")
def two(models):
    with running(Service({name: models[name] for name in ("score", "wave")})) as address:
        yield address


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_schemathesis(two, mode) -> None:
    """Requests that fit the description, and others, are answered with what it says, and never with a fault."""
    schema = schemathesis.openapi.from_url(f"{two}/openapi.json")
    count = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        if mode is GenerationMode.NEGATIVE and operation.method == "get":
            continue  # they take nothing that could be wrong

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=1 if operation.method == "get" else 5,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def test(case) -> None:
            case.call_and_validate(base_url=two, excluded_checks=SIZES)

        test()
        count += 1
    assert count >= (6 if mode is GenerationMode.NEGATIVE else 16)

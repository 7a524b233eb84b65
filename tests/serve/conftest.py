"""Small models of each kind of input, fitted once, and servers in a thread of this process."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unspool

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from tests.serve.browser import CHROMIUM, Browser

from unspool.serve import Limits, Service
from unspool.serve.server import Server

WORDS = ["good", "fine", "dull", "awful", "the", "day", "was", "so"]
SMALL: dict[str, Any] = {"hidden_size": 6, "embedding_dim": 6, "epochs": 2, "random_state": 0, "verbose": 0}
SMALL |= {"bidirectional": False}


def texts(n: int, seed: int = 0) -> list[str]:
    """Texts of 1 to 8 words."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(1, 9))) for _ in range(n)]


def series(n: int, features: int = 3, seed: int = 0) -> list[np.ndarray]:
    """Series of 1 to 12 steps."""
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(rng.integers(1, 13), features)).astype(np.float32) for _ in range(n)]


def ids(n: int, seed: int = 0) -> list[list[int]]:
    """Sequences of 1 to 9 ids below 20."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 20, rng.integers(1, 10)).tolist() for _ in range(n)]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of these tests in one process: they share models and a server."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("serve"))


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> dict[str, Path]:
    """Saved models: score (texts to a number), mood (texts to a label), wave (series to two numbers), kind (ids to a
    number 0, 1), mixed (texts with a number and a category beside)."""
    folder = tmp_path_factory.mktemp("models")
    x = texts(60)
    worth = [float(text.count("good") - text.count("awful")) for text in x]
    made: dict[str, Any] = {
        "score": unspool.SequenceRegressor(cell="gru", pooling="last", blend=False, **SMALL).fit(x, worth),
        "mood": unspool.SequenceClassifier(pooling="mean+max", blend=False, **SMALL).fit(
            x, ["up" if w > 0 else "down" for w in worth]
        ),
    }
    s = series(60)
    made["wave"] = unspool.SequenceRegressor(cell="lstm", pooling="last", **SMALL).fit(
        s, np.array([[v.mean(), v[-1, 0]] for v in s])
    )
    i = ids(60)
    made["kind"] = unspool.SequenceClassifier(cell="gru", **{**SMALL, "bidirectional": True}).fit(
        i, [max(row) > 15 for row in i]
    )
    columns = {"text": x, "age": [float(k % 7) for k in range(60)], "place": ["ab"[k % 2] for k in range(60)]}
    made["mixed"] = unspool.SequenceRegressor(
        text_column="text", numeric=("age",), categorical=("place",), **SMALL
    ).fit(columns, worth)
    for name, model in made.items():
        model.save(folder / name)
    return {name: folder / name for name in made}


@pytest.fixture(scope="session")
def loaded(models) -> dict[str, Any]:
    """The same, to compare with."""
    return {name: unspool.load(path) for name, path in models.items()}


@contextlib.contextmanager
def running(service: Service) -> Iterator[str]:
    """The address of a server that answers with `service`."""
    found: list[str] = []
    there = threading.Event()
    server = Server(service, "127.0.0.1", 0, lambda url: (found.append(url), there.set()))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert there.wait(30)
    try:
        yield found[0]
    finally:
        server.stop()
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def service(models) -> Service:
    """One service of all models, for tests that leave it as it is."""
    return Service(models)


@pytest.fixture(scope="session")
def url(service) -> Iterator[str]:
    """Its address."""
    with running(service) as address:
        yield address


@pytest.fixture(scope="session")
def browser(tmp_path_factory) -> Iterator[Browser]:
    """A headless Chromium, where there is one."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with contextlib.closing(Browser(tmp_path_factory.mktemp("chromium"))) as found:
        yield found


@pytest.fixture
def start(models) -> Iterator[Callable[..., str]]:
    """start(names, limits, token) -> the address of a server of its own."""
    with contextlib.ExitStack() as stack:

        def started(*names: str, token: str | None = None, **limits: Any) -> str:
            paths = {name: models[name] for name in names or ("score",)}
            return stack.enter_context(running(Service(paths, Limits(**limits), token)))

        yield started

"""Sessions side by side: never mixed, the least recently used one goes, threads may share a pool."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch

from unspool import cells
from unspool.errors import DataError, InvalidParameterError, ModelFileError
from unspool.nn import Recurrent
from unspool.streaming import LookAheadPool, Stream, StreamPool, stream_model


def layer(seed: int = 0) -> Recurrent:
    torch.manual_seed(seed)
    return Recurrent(cells.get("lstm")(3, 8)).eval()


def rows(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 3)).astype(np.float32)


def test_keys_and_rows_as_arrays_or_as_a_dict() -> None:
    model = stream_model(layer())
    x = rows(4)
    by_rows, by_key = StreamPool(model, capacity=9), StreamPool(model, capacity=9)
    found = by_rows.push(np.array([5, 6, 7, 8]), x)
    assert found.shape == (4, 8)
    each = by_key.push(dict(zip((5, 6, 7, 8), x)))
    assert all((each[5 + i] == found[i]).all() for i in range(4))
    for i in range(4):
        assert (Stream(model).push(x[i]) == found[i]).all()
    again = by_rows.push([8, 5], [x[0], x[1]])
    each = by_key.push({8: x[0], 5: x[1]})
    assert (again[0] == each[8]).all() and (again[1] == each[5]).all()
    assert by_rows.push({}) == {} and by_rows.push([], np.zeros((0, 3))).shape == (0, 8)
    mixed = by_rows.push([1, 5], [x, x[0]])
    assert mixed[0].shape == (4, 8) and mixed[1].shape == (8,)


def test_the_least_recently_used_session_goes() -> None:
    pool = StreamPool(layer(), capacity=3)
    x = rows(3)
    pool.push({"a": x[0], "b": x[0], "c": x[0]})
    pool.push({"a": x[1]})
    pool.push({"d": x[0]})
    assert pool.keys() == ["c", "a", "d"] and "b" not in pool and len(pool) == 3
    pool.push({"e": x[0], "c": x[1]})  # c got something in this very push: a goes
    assert pool.keys() == ["d", "c", "e"] and pool.steps("c") == 2
    with pytest.raises(KeyError, match="no session 'b'"):
        pool.save("b")
    with pytest.raises(InvalidParameterError, match="sessions that fit into memory"):
        StreamPool(layer(), capacity=10**15)
    with pytest.raises(DataError, match="capacity"):
        pool.push(dict.fromkeys(range(4), x[0]))
    assert pool.keys() == ["d", "c", "e"]


def test_a_slot_starts_anew() -> None:
    pool = StreamPool(layer(), capacity=1)
    x = rows(3)
    first = pool.push({"a": x})["a"]
    pool.push({"b": x[1]})
    assert (pool.push({"a": x})["a"] == first).all()
    pool.drop("a")
    assert len(pool) == 0 and (pool.push({"c": x})["c"] == first).all() and pool.steps("c") == 3


def test_sessions_that_get_nothing_expire() -> None:
    now = [0.0]
    pool = StreamPool(layer(), capacity=9, max_age=10, clock=lambda: now[0])
    x = rows(1)[0]
    pool.push({"a": x, "b": x})
    now[0] = 8
    pool.push({"b": x})
    now[0] = 9.999
    assert pool.expire() == []
    now[0] = 10  # to the second
    assert pool.expire() == ["a"] and pool.keys() == ["b"]
    now[0] = 30
    pool.push({"b": x})
    assert pool.steps("b") == 1  # it had expired, and began anew


def test_a_session_moves_between_pools_and_streams() -> None:
    model = stream_model(layer())
    x = rows(9)
    pool, other, stream = StreamPool(model), StreamPool(layer(), capacity=2), Stream(model)
    expected = stream.push(x)[6:]
    pool.push({"a": x[:6]})
    saved = pool.save("a")
    other.load("z", saved)
    assert (other.push({"z": x[6:]})["z"] == expected).all()
    assert (Stream(model).load(saved).push(x[6:]) == expected).all()
    pool.fork("a", "b")
    pool.push({"a": x[:2]})
    assert (pool.push({"b": x[6:]})["b"] == expected).all() and pool.steps("b") == 9
    with pytest.raises(DataError, match="already"):
        pool.fork("a", "b")
    with pytest.raises(ModelFileError, match="another model"):
        StreamPool(layer(1)).load("a", saved)


def test_what_is_wrong_changes_nothing_and_names_the_session() -> None:
    pool = StreamPool(layer(), capacity=5)
    x = rows(2)
    pool.push({"a": x[0]})
    before = pool.save("a")
    for wrong in (x[0, :2], "text", None):
        with pytest.raises(DataError, match="session 'b'"):
            pool.push({"a": x[1], "b": wrong})
    with pytest.raises(DataError, match="twice"):
        pool.push(["a", "a"], x)
    with pytest.raises(DataError, match="2 keys and 1 rows"):
        pool.push(["a", "b"], x[:1])
    with pytest.raises(DataError, match="keys without rows"):
        pool.push(["a"])
    for keys in (5, [["a"], ["b"]]):
        with pytest.raises(DataError, match="Keys must be several"):
            pool.push(keys, x)
    assert pool.save("a") == before and pool.keys() == ["a"]
    assert list(pool.finish(["a", "a"])) == ["a"]
    ahead = LookAheadPool(Recurrent(cells.get("lstm")(3, 4), bidirectional=True), 1)
    with pytest.raises(DataError, match=r"takes \{key: chunk\}. Got None"):
        ahead.push(None)  # type: ignore[arg-type]
    for name, value in (("capacity", 0), ("max_age", 0), ("max_age", "3"), ("threads", 0)):
        with pytest.raises(InvalidParameterError, match=name):
            StreamPool(layer(), **{name: value})


def test_a_push_shared_by_threads_has_the_same_bits() -> None:
    model, count = stream_model(layer()), 3000
    x = rows(count)
    found = [StreamPool(model, capacity=count, threads=threads).push(range(count), x) for threads in (1, 2)]
    assert (found[0] == found[1]).all() and (found[0][-1] == Stream(model).push(x[-1])).all()


def test_threads_share_a_pool() -> None:
    model = stream_model(layer())
    pool = StreamPool(model, capacity=64, threads=2)
    x = rows(200)
    expected = Stream(model).push(x)[-1]
    failed = []

    def work(number: int) -> None:
        keys = [(number, i) for i in range(8)]
        for step in x:
            last = pool.push(keys, np.repeat(step[None], 8, 0))
        if not (last == expected).all():
            failed.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and len(pool) == 32


def test_the_interpreter_runs_on_meanwhile() -> None:
    torch.manual_seed(0)
    big = stream_model(Recurrent(cells.get("lstm")(64, 256)).eval())
    stream, x = Stream(big), np.zeros((3000, 64), np.float32)
    done = threading.Event()
    thread = threading.Thread(target=lambda: (stream.push(x), done.set()))
    ticks = 0
    thread.start()
    while not done.is_set():
        time.sleep(0.001)
        ticks += 1
    thread.join()
    assert ticks > 5  # the push takes some 60 ms

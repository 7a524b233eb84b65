"""Addresses of clusters, and what is said where none answers or Ray is missing; nothing is started."""

from __future__ import annotations

import signal
import socket
import sys

import pytest

from unspool.cluster import connected, connection
from unspool.errors import InvalidParameterError, UnspoolError
from unspool.study import compare

X, Y = ["a b", "c d"] * 20, [0, 1] * 20


@pytest.mark.parametrize(
    "address",
    ["ray://head:10001", "http://head:8265", "head", "head:", ":6379", "head:1:2", "head:123456", 6379, ""],
)
def test_what_is_no_address(address):
    with pytest.raises(
        InvalidParameterError, match=r"'auto' .*, 'local' .*, or its address HOST:PORT\. Got "
    ):
        compare(X, Y, cluster=address, verbose=0)


def test_the_client_is_told_how_to_start():
    with pytest.raises(InvalidParameterError, match="`ray job submit --address http://HEAD:8265 -- unspool"):
        compare(X, Y, cluster="ray://127.0.0.1:10001", verbose=0)


def test_without_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UnspoolError, match=r"needs the package ray: pip install 'unspool\[cluster\]'"):
        compare(X, Y, cluster="local", verbose=0)


def test_nobody_answers():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(UnspoolError, match=rf"No Ray cluster answers at .*:{port} ") as error:
        compare(X, Y, cluster=f"127.0.0.1:{port}", verbose=0)
    assert "'local' for a cluster that is started here" in str(error.value)


def test_no_cluster_on_this_machine(monkeypatch):
    services = pytest.importorskip("ray._private.services")

    def none(*_, **__):
        raise ConnectionError

    monkeypatch.setattr(services, "canonicalize_bootstrap_address", none)
    with pytest.raises(UnspoolError, match="No Ray cluster is running on this machine"), connected("auto"):
        pass


def test_ray_s_handler_of_sigterm_does_not_stay(monkeypatch):
    class Ray:
        is_initialized = staticmethod(lambda: False)
        init = staticmethod(lambda **options: signal.signal(signal.SIGTERM, lambda number, frame: None))
        shutdown = staticmethod(lambda: None)

    monkeypatch.setattr(connection, "import_ray", lambda: Ray)
    before = signal.getsignal(signal.SIGTERM)
    with connected("local"):
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before

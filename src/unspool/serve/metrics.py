"""What the server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)


class Metrics:
    """The counters of one server. sessions, sockets, waiting: read when they are asked for."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.requests = Counter("unspool_requests", "Requests answered.", ["route", "status"], registry=r)
        self.seconds = Histogram(
            "unspool_request_seconds", "Seconds to answer a request.", ["route"], buckets=_SECONDS, registry=r
        )
        self.batch = Histogram(
            "unspool_batch_sequences", "Sequences computed together.", ["model"], buckets=_ROWS, registry=r
        )
        self.steps = Counter("unspool_stream_steps", "Steps of streams.", ["model"], registry=r)
        self.step_seconds = Histogram(
            "unspool_stream_step_seconds",
            "Seconds to answer a step of a stream.",
            buckets=_SECONDS,
            registry=r,
        )
        self.expired = Counter(
            "unspool_sessions_expired", "Streams forgotten since nobody used them.", registry=r
        )
        self.version = Gauge(
            "unspool_model_version", "How many times a model was loaded.", ["model"], registry=r
        )

    def watch(self, name: str, what: str, read: Callable[[], float]) -> None:
        """A gauge whose value is read when it is asked for."""
        Gauge(name, what, registry=self.registry).set_function(read)

    def text(self) -> bytes:
        """All of it, in Prometheus' format."""
        return generate_latest(self.registry)

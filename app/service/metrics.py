"""What Prometheus reads of a service. Nothing in it names a client, a file or a question."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """The counters of one service, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        own = {"registry": self._registry}
        self.requests = Counter("unmask_requests", "Requests", ["route", "status"], **own)
        self.seconds = Histogram(
            "unmask_request_seconds", "Until the first byte", ["route"], buckets=SECONDS, **own
        )
        self.findings = Counter(
            "unmask_findings", "Files examined, by verdict or error code", ["outcome"], **own
        )
        self.answers = Counter("unmask_answers", "Questions, by how they ended", ["outcome"], **own)
        self._gauge = Gauge("unmask_state", "What waits and what is kept", ["of"], **own)

    def watch(self, name: str, count: Callable[[], float]) -> None:
        """Show a number as it is when Prometheus asks."""
        self._gauge.labels(name).set_function(count)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self._registry)

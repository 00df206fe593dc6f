"""What Prometheus is told."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

#: Seconds: fine where the service should be, coarse where it should not.
LATENCIES = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """Counters of one service, in a registry of their own, so that two services in one process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.requests = Counter("seqlore_requests", "Answered requests.", ["route", "status"], registry=self.registry)
        self.latency = Histogram(
            "seqlore_request_seconds", "Time to answer.", ["route"], buckets=LATENCIES, registry=self.registry
        )
        self.at_work = Gauge("seqlore_requests_at_work", "Requests taken in and not answered.", registry=self.registry)
        self.batch = Histogram(
            "seqlore_batch_histories",
            "Histories scored together.",
            ["model"],
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=self.registry,
        )
        self.items = Gauge("seqlore_model_items", "Items of a served model.", ["model"], registry=self.registry)
        self.added = Gauge(
            "seqlore_model_added_items", "Of these, added at run time.", ["model"], registry=self.registry
        )
        self.recall = Gauge(
            "seqlore_index_recall", "Recall@20 of the index against exact search.", ["model"], registry=self.registry
        )
        self.swaps = Counter("seqlore_model_swaps", "Models put in another's place.", ["model"], registry=self.registry)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self.registry)

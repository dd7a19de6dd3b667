"""How a loop is doing: rates, latencies and ages, in a few kilobytes however long it runs."""

from __future__ import annotations

import threading
import time
from collections import deque

import numpy as np

from keras_bisenet.runtime.segmenter import Timings

RECENT = 1024
"""The frames that percentiles are of: the last ones."""

WINDOW = 10.0
"""The seconds that rates are of: the last ones, at most."""

PERCENTILES = (50, 95, 99)


class Statistics:
    """Counts what a loop does. All of its methods may be called from any thread.

    Attributes:
        read: Frames that the source gave.
        processed: Frames that the network answered.
        written: Frames that the sink has taken, with their answers.
        dropped: Frames of a live source that newer ones took the place of.
        started: When the loop began, by `time.monotonic()`; None before.
        seconds: How long it ran, once it has ended.
        answered: When the newest answer was written.
    """

    def __init__(self) -> None:
        self.read = self.processed = self.written = self.dropped = 0
        self.started: float | None = None
        self.seconds: float | None = None
        self.answered: float | None = None
        self._captured = 0.0
        self._sums = np.zeros(3)
        self._timings: deque[Timings] = deque(maxlen=RECENT)
        self._latencies: deque[float] = deque(maxlen=RECENT)
        self._times: dict[str, deque[float]] = {
            name: deque(maxlen=RECENT) for name in ("read", "processed", "written", "dropped")
        }
        self._lock = threading.Lock()

    def start(self) -> None:
        self.started = time.monotonic()

    def end(self) -> None:
        self.seconds = time.monotonic() - (self.started or time.monotonic())

    def count(self, what: str) -> None:
        """One more of "read", "processed" or "dropped"."""
        with self._lock:
            self._count(what)

    def count_written(self, timings: Timings, captured: float) -> None:
        """One more frame has gone all the way; it was captured at `captured`."""
        with self._lock:
            self._count("written")
            self._sums += (timings.prepare, timings.invoke, timings.finish)
            self._timings.append(timings)
            self.answered, self._captured = time.monotonic(), captured
            self._latencies.append(1000 * (self.answered - captured))

    def _count(self, what: str) -> None:
        setattr(self, what, getattr(self, what) + 1)
        self._times[what].append(time.monotonic())

    @property
    def mean(self) -> Timings:
        """The mean of the stages, in milliseconds."""
        with self._lock:
            return Timings(*(float(total) for total in self._sums / max(1, self.written)))

    @property
    def rate(self) -> float:
        """Frames a second, end to end, over the whole run."""
        seconds = self.seconds
        if seconds is None:
            seconds = time.monotonic() - (self.started or time.monotonic())
        return self.written / seconds if seconds > 0 else 0.0

    @property
    def share(self) -> float:
        """`rate` divided by the rate of the network alone."""
        return self.rate * self.mean.invoke / 1000

    def network(self, percent: float) -> float:
        """A percentile of the network's milliseconds, of the recent frames."""
        with self._lock:
            return _percentile([timings.invoke for timings in self._timings], percent)

    def latency(self, percent: float) -> float:
        """A percentile of the milliseconds from capture to written, of the recent frames."""
        with self._lock:
            return _percentile(list(self._latencies), percent)

    def per_second(self, what: str) -> float:
        """How often "read", "processed", "written" or "dropped" happens now."""
        now = time.monotonic()
        with self._lock:
            times = self._times[what]
            window = min(WINDOW, max(now - (self.started or now), 1e-3))
            if len(times) == times.maxlen:  # so often that the window is longer than we remember
                window = min(window, max(now - times[0], 1e-3))
            return sum(at > now - window for at in times) / window

    @property
    def age(self) -> float | None:
        """Seconds since the frame of the newest answer was captured; None before the first."""
        return None if self.answered is None else time.monotonic() - self._captured

    def to_json(self) -> dict:
        """Plain values, for programs."""
        return {
            "frames": {
                name: getattr(self, name) for name in ("read", "processed", "written", "dropped")
            },
            "per_second": {name: round(self.per_second(name), 2) for name in self._times},
            "network_ms": {f"p{p}": round(self.network(p), 2) for p in PERCENTILES},
            "latency_ms": {f"p{p}": round(self.latency(p), 2) for p in PERCENTILES},
            "age_seconds": None if self.age is None else round(self.age, 3),
        }


def _percentile(values: list[float], percent: float) -> float:
    return float(np.percentile(values, percent)) if values else 0.0

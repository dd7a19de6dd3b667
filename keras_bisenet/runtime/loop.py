"""Frames through the network: reader, network and writer in threads of their own.

A file's frames wait for the network, a few at most. Those of a live source do not: the newest
one takes the place of whatever still waits, so that answers are of what is there now.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import numpy as np

from keras_bisenet.imaging.letterbox import Fit
from keras_bisenet.runtime.segmenter import Answer, Segmenter, Stopwatch, Timings
from keras_bisenet.runtime.sinks.base import Sink
from keras_bisenet.runtime.sources.base import Frame, Source
from keras_bisenet.runtime.statistics import Statistics

Item = TypeVar("Item")

WAITING = 2
"""How many of a file's frames wait between two threads, at most."""

GRACE = 3.0
"""Seconds that a stopped loop waits for a source that hangs."""


def run_loop(
    source: Source,
    segmenter: Segmenter,
    sink: Sink,
    *,
    statistics: Statistics | None = None,
    stop: threading.Event | None = None,
    answered: Callable[[Frame, Answer], None] | None = None,
) -> Statistics:
    """Segments the frames of `source` and hands them to `sink`, until the source ends.

    Args:
        source: Where frames come from.
        segmenter: The network.
        sink: Where they go with their answers. It is closed at the end, whatever ends it.
        statistics: Counts what happens, for who looks on meanwhile.
        stop: When set, the loop ends: what the network has answered by then is still written.
        answered: Called after each frame that was written, from the writer's thread.

    Returns:
        The statistics.

    Raises:
        UserError: What the source, the network or the sink could not do. By then what was
            written before is whole.
    """
    loop = _Loop(source, segmenter, sink, statistics or Statistics(), answered)
    return loop.run(stop or threading.Event())


@contextlib.contextmanager
def stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """Sets `stop` on Ctrl-C and SIGTERM, as long as the block runs. A second Ctrl-C breaks off."""

    def handle(number, _) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Loop:
    def __init__(self, source, segmenter, sink, statistics, answered):
        self._source, self._segmenter, self._sink = source, segmenter, sink
        self._statistics, self._answered = statistics, answered
        newest = source.live
        self._frames: _Channel = _Channel(1 if newest else WAITING, newest, self._drop)
        self._outputs: _Channel = _Channel(1 if newest else WAITING, newest, self._drop)
        self._stopping = threading.Event()
        self._errors: list[BaseException] = []

    def run(self, stop: threading.Event) -> Statistics:
        self._statistics.start()
        reader, network, writer = (
            threading.Thread(target=self._guarded, args=(work,), name=name, daemon=True)
            for name, work in (
                ("reader", self._read),
                ("network", self._segment),
                ("writer", self._write),
            )
        )
        threads = (reader, network, writer)
        for thread in threads:
            thread.start()
        try:
            while writer.is_alive():
                writer.join(0.1)
                if stop.is_set() and not self._stopping.is_set():
                    self._stop()
        finally:
            self._stop()
            for thread in threads:
                thread.join(GRACE)
        self._statistics.end()
        if self._errors:
            raise self._errors[0]
        return self._statistics

    def _stop(self) -> None:
        """No more frames; those that the network has are finished."""
        self._stopping.set()
        self._source.close()
        self._frames.close()

    def _drop(self) -> None:
        self._statistics.count("dropped")

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # raised again by `run`
            self._errors.append(error)
            self._stop()

    def _read(self) -> None:
        try:
            for frame in self._source:
                self._statistics.count("read")
                # A live frame may never be used, so it is made ready only when it is.
                ready = None if self._source.live else prepared_frame(self._segmenter, frame)
                if not self._frames.put((frame, ready)):
                    return
        finally:
            self._frames.close()

    def _segment(self) -> None:
        try:
            for frame, ready in self._frames:
                (array, fit), prepare = ready or prepared_frame(self._segmenter, frame)
                raw, invoke = self._segmenter.timed_invoke(array)
                self._statistics.count("processed")
                if not self._outputs.put((frame, raw, fit, prepare, invoke)):
                    return
        finally:
            self._frames.close()  # the reader need not go on
            self._outputs.close()

    def _write(self) -> None:
        try:
            for frame, raw, fit, prepare, invoke in self._outputs:
                with Stopwatch() as finish:
                    ids = self._segmenter.finish(raw, fit)
                answer = Answer(ids, Timings(prepare, invoke, finish.milliseconds))
                self._sink.write(frame, answer)
                self._statistics.count_written(answer.timings, frame.captured)
                if self._answered:
                    self._answered(frame, answer)
        finally:
            self._outputs.close()
            self._sink.close()


def prepared_frame(segmenter: Segmenter, frame: Frame) -> tuple[tuple[np.ndarray, Fit], float]:
    """The input tensor of a frame and its fit, and the milliseconds that they took."""
    with Stopwatch() as prepare:
        fit = Fit.of(frame.size, segmenter.info.size)
        array = segmenter.encode(frame.placed(fit))
    return (array, fit), prepare.milliseconds


class _Channel(Generic[Item]):
    """Hands items from one thread to the next.

    Args:
        size: How many may wait.
        newest: When that many wait, a new one takes the oldest's place. Else it waits.
        dropped: Called for each whose place was taken.
    """

    def __init__(self, size: int, newest: bool, dropped: Callable[[], None]):
        self._size, self._newest, self._dropped = size, newest, dropped
        self._items: deque[Item] = deque()
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: Item) -> bool:
        """Returns False where nobody takes items any more."""
        with self._changed:
            while len(self._items) >= self._size and not self._closed:
                if self._newest:
                    self._items.popleft()
                    self._dropped()
                else:
                    self._changed.wait()
            if self._closed:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def close(self) -> None:
        """No more are put in; those that wait can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Item]:
        while True:
            with self._changed:
                while not self._items and not self._closed:
                    self._changed.wait()
                if not self._items:
                    return
                item = self._items.popleft()
                self._changed.notify_all()
            yield item

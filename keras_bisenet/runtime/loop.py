"""Frames through the network: reader, network and writer in threads of their own.

A file's frames wait for the network, a few at most, and are read and written in bursts: what works
on one after the other costs a sixth less than what starts with cold caches for each. Those of a
live source do not wait: the newest one takes the place of whatever still does, so that answers are
of what is there now.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import numpy as np

from keras_bisenet.errors import UserError
from keras_bisenet.imaging.letterbox import Fit
from keras_bisenet.runtime.segmenter import Answer, Segmenter, Stopwatch, Timings
from keras_bisenet.runtime.sinks.base import Sink
from keras_bisenet.runtime.sources.base import Frame, Source
from keras_bisenet.runtime.statistics import Statistics

Item = TypeVar("Item")

WAITING_BYTES = 20 << 20
"""What a file's frames that wait between two threads may take, with what is computed of them."""

MOST_WAITING, LEAST_WAITING = 16, 2
"""How many of them wait, however small or large they are."""

HELD = 0.4
"""Seconds that an answer to a file's frame waits for others, to be written in a burst."""

GRACE = 3.0
"""Seconds that a stopped loop waits for a source that hangs."""

LAST_INFERENCE = 10.0
"""Seconds that a stopped loop waits for the network: an accelerator may never answer again."""


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
        stop: When set, the loop ends: what the network has by then is still written.
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
        newest = self._drop if source.live else None
        self._frames: _Channel = _Channel(newest)
        self._outputs: _Channel = _Channel(newest, held=HELD)
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
        stopped: float | None = None
        try:
            while writer.is_alive():
                writer.join(0.1)
                if stop.is_set() and stopped is None:
                    stopped = time.monotonic()
                    self._frames.close(with_items=True)
                    self._stop()
                elif stopped is not None and time.monotonic() - stopped > LAST_INFERENCE:
                    self._give_up_network()
        finally:
            self._stop()
            for thread in threads:
                thread.join(GRACE)
        self._statistics.end()
        if self._errors:
            raise self._errors[0]
        return self._statistics

    def _stop(self) -> None:
        """No more frames; those that were read are finished."""
        self._source.close()
        self._frames.close()

    def _give_up_network(self) -> None:
        """Lets the writer finish without it."""
        if self._outputs.close():
            self._errors.append(
                UserError(
                    f"{self._segmenter.file.path}: its last inference did not end within "
                    f"{LAST_INFERENCE:g} s: what was written is whole"
                )
            )

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
                ready, waiting = None, 1
                if not self._source.live:
                    ready = prepared_frame(self._segmenter, frame)
                    waiting = room(frame, ready[0][0])
                if not self._frames.put((frame, ready), waiting):
                    return
        finally:
            self._frames.close()

    def _segment(self) -> None:
        try:
            for frame, ready in self._frames:
                (array, fit), prepare = ready or prepared_frame(self._segmenter, frame)
                raw, invoke = self._segmenter.timed_invoke(array)
                self._statistics.count("processed")
                if not self._outputs.put((frame, raw, fit, prepare, invoke), room(frame, raw)):
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


def room(frame: Frame, array: np.ndarray) -> int:
    """How many frames of a file, all like this one, wait between two threads, each with its array:
    the network's input or output."""
    height, width = frame.size
    each = 3 * height * width + array.nbytes
    return max(LEAST_WAITING, min(MOST_WAITING, WAITING_BYTES // each))


class _Channel(Generic[Item]):
    """Hands items from one thread to the next, the newest alone or in bursts.

    A full channel takes no item before half of them are gone. With `held`, an empty one gives none
    before half of its room is taken, or that much time has passed.

    Args:
        dropped: Where it is given, one item waits and a new one takes its place: called for each
            whose place was taken.
        held: Seconds that an item waits for others.
    """

    def __init__(self, dropped: Callable[[], None] | None = None, held: float = 0.0):
        self._dropped, self._held = dropped, 0.0 if dropped else held
        self._items: deque[Item] = deque()
        self._burst = 1  # what is half of the room
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: Item, room: int) -> bool:
        """Returns False where nobody takes items any more; `room` is how many may wait."""
        with self._changed:
            if self._dropped:
                while self._items:
                    self._items.popleft()
                    self._dropped()
            elif len(self._items) >= room:
                self._changed.wait_for(lambda: self._closed or len(self._items) <= room // 2)
            if self._closed:
                return False
            self._burst = max(1, room // 2)
            self._items.append(item)
            if len(self._items) in (1, self._burst):
                self._changed.notify_all()
            return True

    def close(self, with_items: bool = False) -> bool:
        """No more are put in; those that wait can still be taken, except `with_items`. Returns
        whether it was open."""
        with self._changed:
            was_open, self._closed = not self._closed, True
            if with_items:
                self._items.clear()
            self._changed.notify_all()
            return was_open

    def __iter__(self) -> Iterator[Item]:
        while True:
            with self._changed:
                if not self._items:
                    self._await_items()
                if not self._items:
                    return
                item = self._items.popleft()
                if len(self._items) <= self._burst:
                    self._changed.notify_all()
            yield item

    def _await_items(self) -> None:
        self._changed.wait_for(lambda: self._closed or self._items)
        if self._held:
            enough = self._burst
            self._changed.wait_for(
                lambda: self._closed or len(self._items) >= enough, timeout=self._held
            )

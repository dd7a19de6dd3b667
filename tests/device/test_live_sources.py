"""Cameras: the newest frame, the true rate, what happens when one is lost; the Pi's own."""

import contextlib
import dataclasses
import itertools
import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
import types

import numpy as np
import pytest
from cameras import h264_camera, http_camera, jpeg, number_of, numbered
from tflite_tiny import tiny_model

from keras_bisenet.errors import UserError
from keras_bisenet.runtime import loop as loop_module
from keras_bisenet.runtime.loop import room, run_loop
from keras_bisenet.runtime.segmenter import Segmenter
from keras_bisenet.runtime.sources import Source, SourceOptions, open_source, pi
from keras_bisenet.runtime.sources import base as sources_base
from keras_bisenet.runtime.sources.base import Frame
from keras_bisenet.runtime.statistics import RECENT, Statistics

SIZE = (32, 48)

SECONDS = 30.0
"""What a machine that is busy with other things is given for whatever takes no time."""


def comes_true(condition, seconds=SECONDS) -> bool:
    """Whether a condition holds by then."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class Slow(Segmenter):
    """A network that takes 100 ms, and no CPU, as an accelerator's does."""

    def invoke(self, array):
        return self.timed_invoke(array)[0]

    def timed_invoke(self, array):
        time.sleep(0.1)
        raw, milliseconds = super().timed_invoke(array)
        return raw, milliseconds + 100


class Collected:
    def __init__(self):
        self.frames, self.is_closed = [], False

    def write(self, frame, answer):
        self.frames.append(frame)

    def close(self):
        self.is_closed = True


class Numbered(Source):
    """Frames as fast as they are taken, or for ever as a camera at `fps`."""

    def __init__(self, count=None, fps=None):
        super().__init__()
        self.name, self.live, self.fps, self._count = "numbered", count is None, fps, count
        self._closed = threading.Event()

    def __iter__(self):
        start = time.monotonic()
        for i in itertools.count() if self._count is None else range(self._count):
            if self._closed.is_set():
                return
            if self.fps:
                time.sleep(max(0, start + i / self.fps - time.monotonic()))
            yield Frame(f"frame_{i:06d}", numbered(i), float(i), time.monotonic())

    def close(self):
        self._closed.set()


class Fed(Numbered):
    """A camera that gives its next frame when it is told to: nothing in a test is then a race."""

    def __init__(self):
        super().__init__()
        self._due = threading.Semaphore(0)

    def __iter__(self):
        for frame in super().__iter__():
            self._due.acquire()
            if self._closed.is_set():
                return
            yield dataclasses.replace(frame, captured=time.monotonic())

    def give(self) -> None:
        self._due.release()

    def close(self):
        super().close()
        self.give()


class Held(Segmenter):
    """A network that waits, at every inference, until it is allowed."""

    def __init__(self, *args):
        super().__init__(*args)
        self.begun, self.allowed = threading.Semaphore(0), threading.Semaphore(0)

    def timed_invoke(self, array):
        self.begun.release()
        assert self.allowed.acquire(timeout=SECONDS)
        return super().timed_invoke(array)


@pytest.fixture
def machine_in_time():
    """A function that skips where the machine has been too busy to tell how long something takes:
    where it woke up, one time in ten, more than 20 ms late."""
    late, ended = [], threading.Event()

    def wake_up():
        while not ended.is_set():
            due = time.monotonic() + 0.01
            time.sleep(0.01)
            late.append(time.monotonic() - due)

    def judge():
        if np.percentile(late, 90) > 0.02:
            pytest.skip(f"too busy: it wakes up {1000 * np.percentile(late, 90):.0f} ms late")

    watch = threading.Thread(target=wake_up, daemon=True)
    watch.start()
    yield judge
    ended.set()
    watch.join()


# === The loop ===


def test_every_frame_of_a_file_is_answered_in_order():
    sink, answered = Collected(), []
    statistics = run_loop(
        Numbered(40),
        Segmenter(tiny_model(SIZE)),
        sink,
        answered=lambda frame, answer: answered.append((number_of(frame.image), answer)),
    )
    assert [number_of(frame.image) for frame in sink.frames] == list(range(40))
    assert [number for number, _ in answered] == list(range(40)) and sink.is_closed
    assert (statistics.read, statistics.processed, statistics.written) == (40, 40, 40)
    assert statistics.dropped == 0 and statistics.mean.invoke > 0


class Ready(Numbered):
    """A file whose second frame comes when the network, `Held`, has the first."""

    def __init__(self, segmenter):
        super().__init__(400)
        self._begun = segmenter.begun

    def __iter__(self):
        frames = super().__iter__()
        yield next(frames)
        assert self._begun.acquire(timeout=SECONDS)
        yield from frames


@contextlib.contextmanager
def running_loop(source, segmenter, sink):
    """The loop in a thread of its own: its statistics, and the event that stops it."""
    statistics, stop = Statistics(), threading.Event()
    loop = threading.Thread(
        target=run_loop,
        args=(source, segmenter, sink),
        kwargs={"statistics": statistics, "stop": stop},
        daemon=True,
    )
    loop.start()
    yield statistics, stop
    stop.set()
    loop.join(SECONDS)
    assert not loop.is_alive()


def test_a_file_is_read_and_written_in_bursts(monkeypatch):
    """What costs a sixth less CPU; up to 16 small frames wait, half of them make a burst."""
    monkeypatch.setattr(loop_module, "HELD", SECONDS)
    segmenter = Held(tiny_model(SIZE))
    with running_loop(Ready(segmenter), segmenter, Collected()) as (statistics, _):
        # The network has one, 16 wait, and one more is in the reader's hands.
        assert comes_true(lambda: statistics.read == 18)
        segmenter.allowed.release(7)
        assert comes_true(lambda: statistics.processed == 7)
        time.sleep(0.1)
        assert (statistics.read, statistics.written) == (18, 0)
        segmenter.allowed.release()
        assert comes_true(lambda: (statistics.read, statistics.written) == (26, 8))
        segmenter.allowed.release(400)
        assert comes_true(lambda: statistics.written == 400)


def test_an_answer_of_a_slow_network_does_not_wait_long_for_others():
    segmenter = Held(tiny_model(SIZE))
    with running_loop(Numbered(400), segmenter, Collected()) as (statistics, _):
        segmenter.allowed.release()
        assert comes_true(lambda: statistics.written == 1)
        segmenter.allowed.release(400)


def test_when_stopped_only_what_the_network_has_is_finished():
    """16 frames wait: of a slow network nobody waits for that many."""
    sink, segmenter = Collected(), Held(tiny_model(SIZE))
    source = Ready(segmenter)
    with running_loop(source, segmenter, sink) as (statistics, stop):
        assert comes_true(lambda: statistics.read == 18)
        stop.set()
        assert source._closed.wait(SECONDS)
        segmenter.allowed.release(400)
    assert [number_of(frame.image) for frame in sink.frames] == [0] and sink.is_closed


def test_fewer_frames_wait_where_they_or_the_networks_tensors_are_large():
    def waiting(size: tuple[int, int], tensor: tuple[int, ...], dtype="int8") -> int:
        picture = np.broadcast_to(np.uint8(0), (*size, 3))
        return room(
            Frame("frame", picture, 0.0, 0.0), np.broadcast_to(np.dtype(dtype).type(), tensor)
        )

    assert waiting((360, 480), (1, 384, 480, 3)) == 16
    assert waiting((720, 1280), (1, 384, 480, 3)) == 6
    assert waiting((4000, 6000), (1, 384, 480, 3)) == 2
    assert waiting((360, 480), (1, 1024, 2048, 3)) == 3
    assert waiting((360, 480), (1024, 2048, 19), "float32") == 2


def test_a_network_that_never_answers_again_does_not_keep_the_loop(monkeypatch):
    """An accelerator may hang: what was answered is still written, and the recording closed."""
    monkeypatch.setattr(loop_module, "LAST_INFERENCE", 0.5)
    segmenter, sink, stop = Held(tiny_model(SIZE)), Collected(), threading.Event()
    segmenter.allowed.release(3)  # the fourth inference does not end
    statistics = Statistics()
    threading.Thread(
        target=lambda: comes_true(lambda: statistics.processed == 3) and stop.set(), daemon=True
    ).start()
    start = time.monotonic()
    with pytest.raises(UserError, match="its last inference did not end within 0.5 s"):
        run_loop(Numbered(fps=30), segmenter, sink, statistics=statistics, stop=stop)
    assert time.monotonic() - start < 20
    assert len(sink.frames) == 3 and sink.is_closed
    segmenter.allowed.release(100)


def test_a_live_source_is_answered_by_its_newest_frame():
    """Whoever is busy: the camera and the network go on when they are told to."""

    source, sink, segmenter = Fed(), Collected(), Held(tiny_model(SIZE))
    with running_loop(source, segmenter, sink) as (statistics, _):
        written, dropped = 0, 0
        for waiting in (9, 30):
            source.give()
            assert segmenter.begun.acquire(timeout=SECONDS)
            for _ in range(waiting):  # so many come while the network has the one before
                source.give()
            dropped += waiting - 1
            assert comes_true(lambda: statistics.dropped == dropped)  # noqa: B023
            for is_last in (False, True):
                segmenter.allowed.release()
                written += 1
                assert is_last or segmenter.begun.acquire(timeout=SECONDS)
                assert comes_true(lambda: statistics.written == written)  # noqa: B023
    # The first, the newest of nine that came meanwhile, the next, and the newest of thirty.
    assert [number_of(frame.image) for frame in sink.frames] == [0, 9, 10, 40]
    assert (statistics.read, statistics.written, statistics.dropped) == (41, 4, 8 + 29)


def test_what_is_shown_of_a_live_source_is_not_old(machine_in_time):
    for _ in range(3):  # others use this machine too
        sink, stop, lags = Collected(), threading.Event(), []
        threading.Timer(2, stop.set).start()
        run_loop(
            Numbered(fps=60),
            Slow(tiny_model(SIZE)),
            sink,
            stop=stop,
            answered=lambda frame, _: lags.append(time.monotonic() - frame.captured),  # noqa: B023
        )
        numbers = [number_of(frame.image) for frame in sink.frames]
        assert numbers == sorted(set(numbers))
        # The network's 100 ms, and half of the next one's.
        if np.median(lags) < 0.15 and len(numbers) >= 12 and numbers[-1] > 80:
            break
    else:
        machine_in_time()
    assert np.median(lags) < 0.15 and 12 <= len(numbers) <= 21 and numbers[-1] > 80  # of 120


@pytest.mark.parametrize("failing", ["source", "network", "sink"])
@pytest.mark.parametrize("count", [None, 400], ids=["a camera", "a file"])
def test_whatever_fails_the_rest_ends_and_the_sink_is_closed(failing, count):
    class Failing(Numbered):
        def __iter__(self):
            yield from itertools.islice(super().__iter__(), 5)
            raise UserError("the source failed")

    class FailingSegmenter(Segmenter):
        def timed_invoke(self, array):
            raise UserError("the network failed")

    class FailingSink(Collected):
        def write(self, frame, answer):
            raise UserError("the sink failed")

    source = (Failing if failing == "source" else Numbered)(count)
    make = FailingSegmenter if failing == "network" else Segmenter
    sink = FailingSink() if failing == "sink" else Collected()
    before = threading.active_count()
    with pytest.raises(UserError, match=f"the {failing} failed"):
        run_loop(source, make(tiny_model(SIZE)), sink)
    assert sink.is_closed and threading.active_count() == before


def test_a_source_that_hangs_does_not_keep_the_loop():
    class Hanging(Numbered):
        def __iter__(self):
            yield next(super().__iter__())
            time.sleep(30)

    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    start = time.monotonic()
    run_loop(Hanging(), Segmenter(tiny_model(SIZE)), Collected(), stop=stop)
    assert time.monotonic() - start < 20


def test_statistics_are_bounded_and_right(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("keras_bisenet.runtime.statistics.time.monotonic", lambda: now[0])
    statistics = Statistics()
    statistics.start()
    from keras_bisenet.runtime.segmenter import Timings

    for i in range(5000):
        now[0] += 0.02
        statistics.count("read")
        if i % 2:
            statistics.count("processed")
            statistics.count_written(Timings(1, float(i % 100), 2), now[0] - 0.5)
        else:
            statistics.count("dropped")
    assert (statistics.read, statistics.written, statistics.dropped) == (5000, 2500, 2500)
    assert statistics.per_second("written") == pytest.approx(25, abs=0.5)
    assert statistics.per_second("read") == pytest.approx(50, abs=0.5)
    assert statistics.latency(50) == pytest.approx(500)
    assert statistics.network(99) == 99 and statistics.network(50) == pytest.approx(50, abs=2)
    assert statistics.rate == pytest.approx(25) and statistics.share == pytest.approx(1.25)
    now[0] += 3
    assert statistics.age == pytest.approx(3.5)
    assert len(statistics._timings) == len(statistics._latencies) == RECENT
    assert statistics.to_json()["frames"]["written"] == 2500


# === A camera on the network ===


@pytest.fixture
def quick_pauses(monkeypatch):
    monkeypatch.setattr(sources_base, "FIRST_PAUSE", 0.1)


def test_a_camera_is_shown_as_it_is_now_and_recorded_at_its_own_pace(tmp_path, machine_in_time):
    """In the first wave the picture of a 30/s camera was 7 s old after 13 s, and 14 s of it
    became a video of 3.5 s."""
    av = pytest.importorskip("av")
    from keras_bisenet.runtime.sinks import Style, open_sink

    segmenter, out = Slow(tiny_model(SIZE)), tmp_path / "out.mp4"
    for _ in range(3):  # others use this machine too
        lags, captured, stop = [], [], threading.Event()

        def answered(frame, _, lags=lags, captured=captured, stop=stop):
            lags.append(camera.sent - number_of(frame.image))
            captured.append(frame.captured)
            if captured[-1] - captured[0] > 3.5:
                stop.set()

        with http_camera(30) as camera:
            source = open_source(camera.address)
            assert source.live
            sink = open_sink(str(out), source, Style(segmenter.info.names, segmenter.info.palette))
            statistics = run_loop(source, segmenter, sink, stop=stop, answered=answered)
        assert statistics.dropped > statistics.written == len(captured)
        with av.open(str(out)) as file:
            times = [frame.time for frame in file.decode(video=0)]
        np.testing.assert_allclose(np.diff(times), np.diff(captured), atol=0.01)
        # Frames of 33 ms: the network's three, and what is on the way.
        if np.median(lags[5:]) <= 9 and np.median(lags[-10:]) <= np.median(lags[5:15]) + 3:
            break
    else:
        machine_in_time()
    assert np.median(lags[5:]) <= 9 and np.median(lags[-10:]) <= np.median(lags[5:15]) + 3


def test_no_picture_of_a_stream_waits_in_the_decoder():
    """Threads that had a frame each kept some from who watches: two, where there are two CPUs."""
    pytest.importorskip("av")
    count, numbers = 200, []
    with h264_camera(count) as address:
        source = open_source(address)
        assert source.live

        def watch():
            for frame in source:
                numbers.append(number_of(frame.image))

        threading.Thread(target=watch, daemon=True).start()
        # A picture ends where the next begins, in the transport stream and in H.264. (After ten
        # seconds of silence the stream is given up, and the decoder gives what it has.)
        assert comes_true(lambda: numbers and numbers[-1] == count - 3, 8), numbers[-1:]
        source.close()


def test_a_lost_camera_is_found_again_and_both_are_said(quick_pauses, caplog):
    pytest.importorskip("av")
    caplog.set_level("INFO", "keras_bisenet")
    with http_camera(30) as camera:
        frames = iter(open_source(camera.address))
        first = [number_of(next(frames).image) for _ in range(3)]
        camera.broken.set()
        threading.Timer(1.0, camera.broken.clear).start()
        later = next(f for f in frames if number_of(f.image) > first[-1] + 25)
        assert camera.connections >= 2 and later.time > 0.8
        frames.close()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "lost after" in said[0] and "looking for it again" in said[0]
    assert "back after" in said[1]


def test_a_camera_that_stays_away_ends_with_what_was_recorded(tmp_path):
    pytest.importorskip("av")
    from click.testing import CliRunner

    from keras_bisenet.cli import main

    model = tmp_path / "model.tflite"
    model.write_bytes(tiny_model(SIZE))
    with http_camera(30) as camera, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources_base, "FIRST_PAUSE", 0.1)
        patch.setattr("keras_bisenet.cli.run.PATIENCE", 1.0)
        out = tmp_path / "out.mp4"

        def break_off():
            assert comes_true(lambda: list(tmp_path.glob(".out.mp4*/out.mp4")))
            time.sleep(0.5)
            camera.broken.set()

        threading.Thread(target=break_off, daemon=True).start()
        result = CliRunner().invoke(main, ["run", str(model), camera.address, "-o", str(out)])
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert "recording until Ctrl-C" in lines[0]
    assert lines[1].startswith("Warning: ") and "lost after" in lines[1]
    assert " frames in " in lines[2] and " dropped" in lines[2]
    assert lines[3].startswith(f"Error: {camera.address}: lost after ")
    assert "not back within 1 s: see that it is on and reachable" in lines[3]
    import av

    with av.open(str(out)) as file:
        assert sum(1 for _ in file.decode(video=0)) == int(lines[2].split()[0])


def test_a_camera_that_is_not_there_is_told_at_once():
    pytest.importorskip("cv2")
    pytest.importorskip("av")
    for name in ("/dev/video97", "97", "http://127.0.0.1:9/video", "rtsp://127.0.0.1:9/x"):
        start = time.monotonic()
        with pytest.raises(UserError, match="no camera or stream answers") as caught:
            open_source(name)
        assert str(caught.value).startswith(f"{name}: ") and time.monotonic() - start < 8


def test_a_camera_of_the_system_is_asked_turned_and_found_again(monkeypatch, quick_pauses, caplog):
    """A stand-in for OpenCV's capture: it gives three pictures, then none, and is opened again."""
    cv2 = pytest.importorskip("cv2")
    asked, opened, released = {}, [], []

    class VideoCapture:
        def __init__(self, address):
            opened.append(address)
            self._left = 3

        def isOpened(self):
            return True

        def set(self, name, value):
            asked[name] = value

        def get(self, name):
            return 15.0 if name == cv2.CAP_PROP_FPS else -1.0

        def read(self):
            self._left -= 1
            picture = numbered(10 * len(opened) + self._left)
            picture[..., 0] = 0  # OpenCV's blue
            return self._left >= 0, picture

        def release(self):
            released.append(self)

    monkeypatch.setattr(cv2, "VideoCapture", VideoCapture)
    source = open_source("0", SourceOptions(camera_size=(720, 1280), fps=15, rotate=180))
    assert source.live and source.fps == 15
    frames = list(itertools.islice(iter(source), 7))
    source.close()
    assert [number_of(frame.image[:, ::-1, :2]) for frame in frames] == [12, 11, 10, 22, 21, 20, 32]
    assert not any(frame.image[..., 2].any() for frame in frames)  # RGB
    assert opened == [0, 0, 0] and len(released) >= 2
    assert asked[cv2.CAP_PROP_FRAME_WIDTH] == 1280 and asked[cv2.CAP_PROP_FRAME_HEIGHT] == 720
    assert asked[cv2.CAP_PROP_FPS] == 15 and asked[cv2.CAP_PROP_BUFFERSIZE] == 1
    said = [record.getMessage() for record in caplog.records]
    assert [line for line in said if "lost after 3 frames" in line]


# === The Pi's own ===


@pytest.fixture
def rpicam(tmp_path, monkeypatch):
    """A stand-in for `rpicam-vid`: it notes its arguments and gives numbered pictures."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def make(body: str) -> None:
        program = folder / "rpicam-vid"
        pictures = [jpeg(numbered(i)) for i in range(1, 200)]
        (folder / "pictures.py").write_text(f"PICTURES = {pictures!r}\n")
        program.write_text(
            f"#!{sys.executable}\nimport sys, time\nsys.path.insert(0, {str(folder)!r})\n"
            "from pictures import PICTURES\n"
            f"open({str(folder / 'arguments')!r}, 'w').write(' '.join(sys.argv[1:]))\n"
            "out = sys.stdout.buffer\n" + textwrap.dedent(body)
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    make.folder = folder
    return make


ALL = "for picture in PICTURES:\n    out.write(picture); out.flush(); time.sleep(0.02)\n"


def test_the_pis_camera_through_a_pipe(rpicam):
    rpicam(ALL)
    options = SourceOptions(camera_size=(720, 1280), fps=15, rotate=180)
    source = open_source("pi:1", options)
    assert source.live and source.fps == 15
    frames = list(itertools.islice(iter(source), 5))
    numbers = [number_of(frame.image[:, ::-1]) for frame in frames]  # turned by 180 degrees
    assert numbers == sorted(set(numbers)) and numbers[0] >= 1
    assert frames[0].image.shape == (48, 64, 3)
    arguments = (rpicam.folder / "arguments").read_text()
    for words in ("--camera 1", "--width 1280 --height 720", "--framerate 15", "--codec mjpeg"):
        assert words in arguments
    source.close()


def test_pictures_that_wait_in_the_pipe_are_left_out(rpicam):
    rpicam(ALL.replace("0.02", "0.005"))
    source, numbers = open_source("pi"), []
    for frame in source:
        numbers.append(number_of(frame.image))
        time.sleep(0.1)
        if numbers[-1] - len(numbers) > 30 or len(numbers) == 50:
            source.close()
    assert numbers[-1] - len(numbers) > 30 and numbers == sorted(set(numbers))


def test_the_pis_camera_says_what_its_program_says(rpicam):
    rpicam("print('ERROR: *** no cameras available ***', file=sys.stderr); sys.exit(255)\n")
    with pytest.raises(UserError, match="no cameras available .*: see that the cable"):
        next(iter(open_source("pi")))


def test_the_pis_program_is_started_again_when_it_dies(rpicam, quick_pauses, caplog):
    rpicam("for picture in PICTURES[:5]:\n    out.write(picture); out.flush(); time.sleep(0.02)\n")
    source = open_source("pi")
    frames = list(itertools.islice(iter(source), 12))
    source.close()
    assert len(frames) == 12
    assert "looking for it again" in caplog.records[0].getMessage()


def test_a_damaged_picture_of_the_pis_camera_is_left_out(rpicam, caplog):
    rpicam("PICTURES[2] = PICTURES[2][:40] + bytes([0xFF, 0xD9])\n" + ALL.replace("0.02", "0.05"))
    source = open_source("pi")
    numbers = [number_of(frame.image) for frame in itertools.islice(iter(source), 12)]
    source.close()
    assert numbers == sorted(set(numbers)) and numbers[-1] >= 12 and 3 not in numbers
    assert caplog.records == []  # it was not lost


def test_a_camera_of_damaged_pictures_is_one_line(rpicam, monkeypatch):
    monkeypatch.setattr(pi, "MOST_DAMAGED", 5)
    rpicam("PICTURES = [p[:40] + bytes([0xFF, 0xD9]) for p in PICTURES]\n" + ALL)
    with pytest.raises(UserError, match="its pictures are damaged: see that the cable"):
        next(iter(open_source("pi")))


def test_picamera2_that_does_not_start_or_load_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))

    class Picamera2:
        def __init__(self, number):
            raise RuntimeError("Camera __init__ sequence did not complete.")

    monkeypatch.setitem(sys.modules, "picamera2", types.SimpleNamespace(Picamera2=Picamera2))
    with pytest.raises(UserError, match="did not complete.*: see that the cable"):
        next(iter(open_source("pi")))
    # As the system's, which is built for NumPy 1, in an environment with NumPy 2.
    (tmp_path / "picamera2.py").write_text("raise ValueError('numpy.dtype size changed')\n")
    monkeypatch.delitem(sys.modules, "picamera2")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match="sudo apt install rpicam-apps-lite"):
        open_source("pi")


def test_ctrl_c_at_a_terminal_reaches_the_command_alone(tmp_path, rpicam):
    """A terminal sends it to all of a session: the camera's program ended first, and was lost."""
    pytest.importorskip("av")
    rpicam(
        "import itertools\nfor picture in itertools.cycle(PICTURES):\n"
        "    out.write(picture); out.flush(); time.sleep(0.02)\n"
    )
    model, out = tmp_path / "model.tflite", tmp_path / "out" / "a.mp4"
    model.write_bytes(tiny_model(SIZE))
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from keras_bisenet.cli import main; main()"
    )
    command = [sys.executable, "-u", "-c", program, "run", model, "pi", "-o", out]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert "recording until" in process.stdout.readline()
    assert comes_true(lambda: list(out.parent.glob(".a.mp4*/a.mp4")))
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")


def test_without_a_program_picamera2_is_taken(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="sudo apt install rpicam-apps-lite"):
        open_source("pi")
    seen = {}

    class Picamera2:
        def __init__(self, number):
            seen["number"] = number

        def create_video_configuration(self, **configuration):
            return configuration

        def configure(self, configuration):
            seen.update(configuration)

        def start(self):
            seen["started"] = True

        def capture_array(self, name):
            padded = np.zeros((48, 128, 3), np.uint8)
            padded[:, :64] = numbered(7)
            return padded

        def close(self):
            seen["closed"] = True

    module = types.SimpleNamespace(Picamera2=Picamera2)
    monkeypatch.setitem(sys.modules, "picamera2", module)
    source = open_source("pi", SourceOptions(camera_size=(48, 64), fps=10))
    frames = iter(source)
    image = next(frames).image
    assert image.shape == (48, 64, 3) and number_of(image) == 7
    source.close()
    with contextlib.suppress(StopIteration):
        next(frames)
    assert seen["main"] == {"format": "BGR888", "size": (64, 48)}  # its name for RGB
    assert seen["controls"] == {"FrameRate": 10} and seen["closed"] and seen["number"] == 0


def test_sigterm_ends_a_recording_whole(tmp_path, rpicam):
    """`systemctl stop` sends it."""
    av = pytest.importorskip("av")
    rpicam(
        "import itertools\nfor picture in itertools.cycle(PICTURES):\n"
        "    out.write(picture); out.flush(); time.sleep(0.02)\n"
    )
    model, out = tmp_path / "model.tflite", tmp_path / "out" / "a.mp4"
    model.write_bytes(tiny_model(SIZE))
    program = "from keras_bisenet.cli import main; main()"
    command = [sys.executable, "-u", "-c", program, "run", model, "pi", "-o", out]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "recording until" in process.stdout.readline()
    assert comes_true(lambda: list(out.parent.glob(".a.mp4*/a.mp4")))  # the first frame is written
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert [path.name for path in out.parent.iterdir()] == ["a.mp4"]
    with av.open(str(out)) as file:
        count = sum(1 for _ in file.decode(video=0))
    assert count == int(said.split(" frames in ")[0]) > 0

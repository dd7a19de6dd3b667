"""Videos through `keras-bisenet run`: their times, sound, turn and kind, and how they end."""

import contextlib
import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from cameras import file_server
from click.testing import CliRunner
from PIL import Image
from tflite_tiny import NAMES, PALETTE, tiny_model

from keras_bisenet.cli import main
from keras_bisenet.errors import UserError
from keras_bisenet.imaging.drawing import VideoOverlay
from keras_bisenet.imaging.letterbox import Fit
from keras_bisenet.label_map import VOID
from keras_bisenet.runtime.loop import run_loop
from keras_bisenet.runtime.segmenter import Segmenter
from keras_bisenet.runtime.sinks import Style, open_sink
from keras_bisenet.runtime.sinks.yuv import YuvOverlay, _planes
from keras_bisenet.runtime.sources import Frame, Source, SourceOptions, open_source
from keras_bisenet.runtime.sources.av import Converter, Decoded
from keras_bisenet.runtime.sources.repeated import Repeated

av = pytest.importorskip("av", reason="PyAV is not installed")

SIZE = (32, 48)
FRAME = (48, 64)
RED, BLUE = NAMES.index("red"), NAMES.index("blue")


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(tiny_model(SIZE))
    return path


def run(*args):
    return CliRunner().invoke(main, ["run", *(str(arg) for arg in args)])


def scene(size=FRAME, top=(200, 0, 0), bottom=(0, 0, 200)) -> np.ndarray:
    image = np.zeros((*size, 3), np.uint8)
    image[: size[0] // 2], image[size[0] // 2 :] = top, bottom
    return image


def write_video(
    path, times, *, sound=None, size=FRAME, turn=0, codec="libx264", base=1000, noise=0
):
    """A video of the scene with frames at these `times`, in seconds, and a tone of `sound` s."""
    random = np.random.default_rng(0)
    with av.open(str(path), "w") as file:
        video = file.add_stream(codec, rate=25)
        video.height, video.width = size
        video.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        video.codec_context.time_base = Fraction(1, base)
        if turn:
            if not hasattr(video, "set_display_rotation"):
                pytest.skip("this PyAV writes no videos that are to be turned (17.1 does)")
            video.set_display_rotation(turn)
        if sound:
            audio = file.add_stream("aac" if path.suffix != ".avi" else "pcm_s16le", rate=8000)
            audio.layout = "mono"
        for at in times:
            image = scene(size) + random.integers(0, noise + 1, (*size, 3), np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(at * base), Fraction(1, base)
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
        if sound:
            wave = (8000 * np.sin(np.arange(int(sound * 8000)) / 3)).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 8000, 0, Fraction(1, 8000)
            fifo = av.AudioFifo()
            fifo.write(frame)
            resampler = av.AudioResampler(audio.codec_context.format or "s16", "mono", 8000)
            for part in fifo.read_many(1024, partial=True):
                for whole in resampler.resample(part):
                    file.mux(audio.encode(whole))
            file.mux(audio.encode(None))
    return path


def described(path) -> dict:
    """What a video file holds: codecs, times in seconds, size, seconds of sound."""
    with av.open(str(path)) as file:
        video = file.streams.video[0]
        frames = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in file.decode(video)]
        found = {
            "codec": video.codec_context.name,
            "pix_fmt": video.codec_context.pix_fmt,
            "times": [round(time, 3) for time, _ in frames],
            "image": frames[-1][1],
            "sound": 0.0,
        }
    with av.open(str(path)) as file:
        if file.streams.audio:
            audio = file.streams.audio[0]
            samples = sum(frame.samples for frame in file.decode(audio))
            found |= {"audio": audio.codec_context.name, "sound": samples / audio.rate}
    return found


def nothing_half_written(folder) -> bool:
    return not any(path.name.startswith(".") for path in folder.rglob("*"))


EVEN = [i / 25 for i in range(6)]


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        ("a.mp4", "h264"),
        ("a.mov", "h264"),
        ("a.mkv", "h264"),
        ("a.webm", "vp8"),
        ("a.avi", "mjpeg"),
    ],
)
def test_a_video_is_one_that_players_know(tmp_path, model, suffix, codec):
    name = f"a{suffix}"
    source = write_video(tmp_path / "drive.mp4", EVEN)
    result = run(model, source, "-o", tmp_path / "out" / name, "--alpha", 1)
    assert result.exit_code == 0, result.output
    assert result.output.startswith("6 frames in ") and result.output.count("\n") == 1
    assert "a second end to end" in result.output and "% of the network's own rate" in result.output
    found = described(tmp_path / "out" / name)
    assert found["codec"] == codec and found["times"] == EVEN
    np.testing.assert_allclose(found["image"][10, 30], PALETTE[RED], atol=30)
    np.testing.assert_allclose(found["image"][40, 30], PALETTE[BLUE], atol=30)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]


def test_uneven_times_stay(tmp_path, model):
    times = [0, 0.04, 0.5, 0.55, 1.73, 1.75]
    source = write_video(tmp_path / "phone.mp4", times)
    assert run(model, source, "-o", tmp_path / "a.mp4").exit_code == 0
    assert described(tmp_path / "a.mp4")["times"] == times
    # AVI knows an even rate only: frames are repeated, and each shows at its time.
    assert run(model, source, "-o", tmp_path / "a.avi").exit_code == 0
    shown = described(tmp_path / "a.avi")["times"]
    assert shown[-1] == pytest.approx(1.75, abs=0.2)


def test_the_sound_stays(tmp_path, model):
    source = write_video(tmp_path / "talk.mp4", [i / 25 for i in range(25)], sound=1.0)
    before = described(source)
    assert before["sound"] == pytest.approx(1.0, abs=0.2)
    result = run(model, source, "-o", tmp_path / "a.mp4")
    assert result.exit_code == 0, result.output
    found = described(tmp_path / "a.mp4")
    assert (found["audio"], found["sound"]) == (before["audio"], before["sound"])
    assert len(found["times"]) == 25


def test_sound_that_the_file_cannot_hold_is_told(tmp_path, model):
    source = write_video(tmp_path / "talk.mp4", EVEN, sound=0.2)
    result = run(model, source, "-o", tmp_path / "a.webm")
    assert result.exit_code == 0, result.output
    assert "Warning: " in result.output and "cannot hold its sound (aac)" in result.output
    assert described(tmp_path / "a.webm")["times"] == EVEN


@pytest.mark.parametrize(("turn", "upright"), [(90, "left"), (-90, "right"), (180, "below")])
def test_a_video_held_sideways_is_answered_upright(tmp_path, turn, upright):
    """The scene has red above; the file asks players to turn it counter-clockwise by `turn`."""
    source = write_video(tmp_path / "phone.mp4", EVEN, turn=turn)
    image = next(iter(open_source(source))).image
    height, width = image.shape[:2]
    where = {
        "left": image[height // 2, 5],
        "right": image[height // 2, width - 5],
        "below": image[height - 5, width // 2],
    }
    assert image.shape[:2] == (FRAME if abs(turn) == 180 else FRAME[::-1])
    assert where[upright][0] > 150
    turned = next(iter(open_source(source, SourceOptions(rotate=90)))).image
    np.testing.assert_array_equal(turned, np.rot90(image, -1))


def test_a_video_that_is_left_early_is_closed(tmp_path):
    """FFmpeg's threads are at work then. With a log in Python, closing waited for them for ever."""
    source = write_video(tmp_path / "long.mp4", [i / 10 for i in range(35)], turn=90)
    for _ in range(20):
        assert next(iter(open_source(source))).image.dtype == np.uint8
    assert av.logging.get_level() is None


def test_a_recording_in_segments(tmp_path, model):
    source = write_video(tmp_path / "long.mp4", [i / 10 for i in range(35)])
    (tmp_path / "a_0002.mp4").write_bytes(b"of another day")
    result = run(model, source, "-o", tmp_path / "a.mp4", "--segment", "1s")
    assert result.exit_code == 0, result.output
    names = sorted(path.name for path in tmp_path.glob("a*.mp4"))
    assert names == ["a_0001.mp4", "a_0002.mp4", "a_0003.mp4", "a_0004.mp4", "a_0005.mp4"]
    assert (tmp_path / "a_0002.mp4").read_bytes() == b"of another day"
    times = [described(tmp_path / names[i])["times"] for i in (0, 2, 3, 4)]
    assert [len(of_file) for of_file in times] == [10, 10, 10, 5]
    assert all(of_file[0] == 0 for of_file in times)


def test_segments_keep_their_sound(tmp_path, model):
    source = write_video(tmp_path / "long.mp4", [i / 10 for i in range(25)], sound=2.5)
    whole = described(source)
    result = run(model, source, "-o", tmp_path / "a.mp4", "--segment", "1s")
    assert result.exit_code == 0, result.output
    parts = [described(tmp_path / f"a_{number:04d}.mp4") for number in (1, 2, 3)]
    assert [len(part["times"]) for part in parts] == [10, 10, 5]
    assert {part["audio"] for part in parts} == {"aac"}
    # AAC is in packets of an eighth of a second here, and each goes into one of them.
    assert [part["sound"] for part in parts[:2]] == pytest.approx([1.0, 1.0], abs=0.2)
    assert sum(part["sound"] for part in parts) == pytest.approx(whole["sound"], abs=0.01)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize("count", [5, 100])
def test_a_video_on_a_server_is_read_whole(tmp_path, model, suffix, count):
    """Not as a stream, of which what came first is left out: its own first frames were."""
    times = [i / 25 for i in range(count)]
    source = write_video(tmp_path / f"drive{suffix}", times, sound=count / 25)
    here = list(open_source(source))
    assert len(here) == count
    with file_server(tmp_path) as address:
        there = open_source(f"{address}/{source.name}")
        assert not there.live and there.files == ()
        assert [frame.time for frame in there] == [frame.time for frame in here]
        result = run(model, f"{address}/{source.name}", "-o", tmp_path / "a.mp4")
    assert result.exit_code == 0, result.output
    found = described(tmp_path / "a.mp4")
    assert len(found["times"]) == count
    assert found["sound"] == described(source)["sound"] > 0


def test_without_pyav_a_video_on_a_server_is_read_whole(tmp_path, monkeypatch):
    pytest.importorskip("cv2")
    source = write_video(tmp_path / "drive.mp4", EVEN)
    monkeypatch.setitem(sys.modules, "av", None)
    with file_server(tmp_path) as address:
        there = open_source(f"{address}/{source.name}")
        assert not there.live and len(list(there)) == len(EVEN)


@pytest.mark.parametrize("place", ["here", "on a server", "without PyAV"])
def test_a_video_is_shown_over_and_over(tmp_path, monkeypatch, place):
    source = write_video(tmp_path / "drive.mp4", EVEN)
    with file_server(tmp_path) as address:
        if place == "without PyAV":
            pytest.importorskip("cv2")
            monkeypatch.setitem(sys.modules, "av", None)
        name = f"{address}/{source.name}" if place == "on a server" else source
        repeated = Repeated(open_source(name))
        frames = list(itertools.islice(repeated, 15))
    assert [frame.name for frame in frames[:7]] == [f"frame_{i:06d}" for i in (1, 2, 3, 4, 5, 6, 1)]
    assert [frame.time for frame in frames] == pytest.approx([i / 25 for i in range(15)], abs=0.002)


@pytest.mark.parametrize("segment", [None, 60.0])
def test_frames_of_another_size_lose_nothing(tmp_path, model, segment):
    """A camera may come back so. Then the recording was deleted, and said to be written."""

    class Changing(Source):
        name, fps = "camera", 25.0

        def __iter__(self):
            for i in range(12):
                size = FRAME if i < 8 else (FRAME[0] * 2, FRAME[1] * 2)
                yield Frame(f"frame_{i + 1:06d}", scene(size), i / 25, 0.0)

    source, segmenter = Changing(), Segmenter(model)
    style = Style(segmenter.info.names, segmenter.info.palette, segment=segment)
    sink = open_sink(str(tmp_path / "a.mp4"), source, style)
    expected = contextlib.nullcontext()
    if not segment:
        expected = pytest.raises(UserError, match="another size at frame_000009: record with")
    with expected:
        run_loop(source, segmenter, sink)
    files = sorted(tmp_path.glob("*.mp4"))
    assert sink.places == files and nothing_half_written(tmp_path)
    counts = [len(described(file)["times"]) for file in files]
    assert counts == ([8, 4] if segment else [8])


def test_a_file_that_cannot_grow_is_said_and_what_is_not_kept_is_not_called_written(
    tmp_path, model
):
    resource = pytest.importorskip("resource")
    times = [i / 25 for i in range(60)]
    source = write_video(tmp_path / "long.mp4", times, size=(96, 128), noise=50)

    def limit() -> None:  # as FAT does at 4 GB
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    program = (
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "from keras_bisenet.cli import main; main()"
    )
    command = [sys.executable, "-B", "-c", program, "run", model, source]
    command += ["-o", tmp_path / "out" / "a.mp4"]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit)
    assert done.returncode == 1 and done.stderr.startswith("Error: File too large"), done.stderr
    assert "this disk holds no larger file" in done.stderr and done.stderr.count("\n") == 1
    assert "none of it is kept" in done.stdout and "written to" not in done.stdout
    assert list((tmp_path / "out").iterdir()) == []


def test_a_cut_video_is_done_as_far_as_it_goes(tmp_path, model):
    source = write_video(
        tmp_path / "whole.avi", [i / 25 for i in range(60)], codec="mjpeg", base=25
    )
    content = source.read_bytes()
    (tmp_path / "cut.avi").write_bytes(content[: len(content) // 2])
    result = run(model, tmp_path / "cut.avi", "-o", tmp_path / "a.mp4")
    assert result.exit_code == 0, result.output
    count = len(described(tmp_path / "a.mp4")["times"])
    assert 10 < count < 50
    assert f"{count} of " in result.output and "it is cut short" in result.output


def test_files_that_are_no_videos_are_one_line(tmp_path, model):
    (tmp_path / "text.mp4").write_text("no video")
    sound = tmp_path / "sound.mp4"
    with av.open(str(sound), "w") as file:
        audio = file.add_stream("aac", rate=8000)
        audio.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        file.mux(audio.encode(frame))
        file.mux(audio.encode(None))
    for path, message in ((tmp_path / "text.mp4", "cannot be read"), (sound, "no video in it")):
        result = run(model, path, "-o", tmp_path / "a.mp4")
        assert result.exit_code == 1 and message in result.output
        assert result.output.count("\n") == 1 and not (tmp_path / "a.mp4").exists()


def test_a_video_is_not_overwritten_nor_made_a_picture(tmp_path, model):
    source = write_video(tmp_path / "drive.mp4", EVEN)
    for args, message in (
        (["-o", source], "this would overwrite the source"),
        (["-o", tmp_path / "a.png"], "a video goes to a video file"),
        (["-o", tmp_path / "a.mp4", "--output", "mask"], "give a folder"),
        (["-o", tmp_path / "frames/", "--segment", "1m"], "--segment is for video files"),
        (["-o", tmp_path / "a.mp4", "--segment", "soon"], "is no time, such as"),
        (["-o", tmp_path / "a.mp4", "--camera-size", "big"], "is not width x height"),
        (["-o", tmp_path / "a.mp4", "--camera-size", "64x48"], "--fps are for cameras"),
        (["-o", tmp_path / "a.mp4", "--fps", "5"], "--fps are for cameras"),
    ):
        result = run(model, source, *args)
        assert result.exit_code == 2 and message in result.output, result.output


def test_a_video_to_a_folder_of_frames(tmp_path, model):
    source = write_video(tmp_path / "drive.mp4", EVEN[:2])
    result = run(model, source, "-o", tmp_path / "out", "--output", "both")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "frame_000001.png",
        "frame_000001_mask.png",
        "frame_000002.png",
        "frame_000002_mask.png",
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_what_was_written(tmp_path, model, number):
    source = write_video(tmp_path / "long.mp4", [i / 25 for i in range(4000)], size=(96, 128))
    out = tmp_path / "out" / "a.mp4"
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from keras_bisenet.cli import main; main()"
    )
    command = [sys.executable, "-c", program, "run", model, source, "-o", out]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("out/.a.mp4*/a.mp4")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(number)
    said, errors = process.communicate(timeout=60)
    count = int(said.split(" frames in ")[0])
    assert 0 < count < 4000 and process.returncode == 1
    assert errors == f"Error: stopped after {count} of 4000: what was written is whole\n"
    assert len(described(out)["times"]) == count
    assert nothing_half_written(out.parent)


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.webm", "a.mpg"])
def test_without_pyav_opencv_writes_and_says_what_will_not_play(tmp_path, model, name):
    pytest.importorskip("cv2")
    times = [0, 0.2, 0.4, 0.6, 1.8, 2.0]
    source = write_video(tmp_path / "drive.mp4", times)
    # OpenCV's own lines would come from C++: the command runs in a process of its own.
    program = "import sys; sys.modules['av'] = None;from keras_bisenet.cli import main; main()"
    command = [sys.executable, "-c", program, "run", model, source, "-o", tmp_path / name]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("6 frames in ")
    if name == "a.mp4":
        assert "Warning: " in done.stderr and "browsers and phones do not play" in done.stderr
    else:
        assert done.stderr.startswith("Warning: ") and "writes no sound" in done.stderr
    assert done.stderr.count("\n") == 1
    found = described(tmp_path / name)
    assert found["times"][-1] - found["times"][0] == pytest.approx(2.0, abs=0.3)


def test_without_pyav_a_video_is_read_by_opencv(tmp_path, monkeypatch):
    pytest.importorskip("cv2")
    times = [0, 0.04, 0.5, 0.55, 1.73]
    source = write_video(tmp_path / "phone.mp4", times, turn=90)
    expected = list(open_source(source))
    monkeypatch.setitem(sys.modules, "av", None)
    frames = list(open_source(source))
    assert [frame.time for frame in frames] == pytest.approx(times, abs=0.002)
    assert frames[0].image.shape == expected[0].image.shape
    assert np.abs(frames[0].image.astype(int) - expected[0].image).mean() < 6
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UserError, match=r"pip install '\.\[video\]'"):
        open_source(source)


def test_a_long_video_takes_no_more_memory(tmp_path):
    """The loop's queues and statistics are bounded."""
    source = write_video(tmp_path / "long.mp4", [i / 25 for i in range(900)], size=(96, 128))
    model = tmp_path / "model.tflite"
    model.write_bytes(tiny_model((32, 32)))
    program = (
        "import json, resource, sys\n"
        "from keras_bisenet.runtime.loop import run_loop\n"
        "from keras_bisenet.runtime.segmenter import Segmenter\n"
        "from keras_bisenet.runtime.sources import open_source\n"
        "peaks = []\n"
        "class Nowhere:\n"
        "    def write(self, frame, answer):\n"
        "        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)\n"
        "    def close(self): pass\n"
        "run_loop(open_source(sys.argv[2]), Segmenter(sys.argv[1]), Nowhere())\n"
        "print(json.dumps([peaks[200], peaks[-1]]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, model, source],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ,
    )
    early, late = json.loads(done.stdout)
    assert late - early <= 3


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_a_browser_plays_it(tmp_path, model, suffix):
    """In Chromium: the whole of it, at its times, with its sound. Where the parts are, see
    `test_live_page.py`. The first wave's MPEG-4 Part 2 does not play there."""
    from test_live_page import tools

    node, chromium, folder = tools()
    times = [0, 0.2, 0.4, 0.9, 1.4, 1.5, 1.6, 1.7, 1.8, 2.0]
    sound = 2.0 if suffix == ".mp4" else None
    source = write_video(tmp_path / "phone.mp4", times, sound=sound, size=(96, 128))
    out = tmp_path / f"out{suffix}"
    assert run(model, source, "-o", out).exit_code == 0
    script = os.path.join(os.path.dirname(__file__), "play_video.mjs")
    done = subprocess.run(
        [node, script, out, chromium, folder], capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["end"] == "ended" and seen["error"] is None
    assert seen["duration"] == pytest.approx(2.1, abs=0.25)
    assert seen["size"][0] > 96 and seen["size"][1] >= 128  # the legend is below
    # It may leave frames out where the machine is busy; those that it showed have their times.
    assert len(seen["times"]) >= 3
    assert all(min(abs(time - at) for at in times) < 0.02 for time in seen["times"])
    assert (seen["sound"] > 1000) is bool(sound)


# === Drawing in YUV ===


def textured(size, seed=0) -> np.ndarray:
    """A picture with soft colours: what halving the colour's resolution does not harm."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC))


def striped_ids(size) -> np.ndarray:
    """Class ids in regions whose borders are on even rows and columns."""
    y, x = np.ogrid[: size[0], : size[1]]
    ids = (y // 16 + x // 24) % 4
    return np.where(x < 4, VOID, ids).astype(np.uint8)


def away_from_borders(ids) -> np.ndarray:
    """Whether all pixels within four rows and columns are there and have the class of this one."""
    inside = np.zeros(ids.shape, bool)
    inside[4:-4, 4:-4] = True
    for axis in (0, 1):
        for shift in (-4, 4):
            inside &= ids == np.roll(ids, shift, axis)
    return inside


def decoded_frame(image, colours) -> Frame:
    """A frame as a video gives it whose colours are those of BT.709 (1), BT.601 (6) or unsaid."""
    rgb = av.VideoFrame.from_ndarray(image, format="rgb24")
    rgb.colorspace = colours
    yuv = rgb.reformat(format="yuv420p")
    yuv.colorspace, yuv.color_range = colours, 1
    return Frame("a", Decoded(yuv, 0, Converter()), 0.0, 0.0)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="no /proc")
def test_a_small_video_needs_no_thread_of_ffmpegs(tmp_path):
    """Waking them costs more than they do: a quarter of the encoding, each entry of a legend."""
    from keras_bisenet.runtime.segmenter import Answer, Timings
    from keras_bisenet.runtime.sinks import Style, open_sink

    def threads() -> set[str]:
        return set(os.listdir("/proc/self/task"))

    write_video(tmp_path / "in.mp4", range(0, 400, 40))
    before = threads()
    source = open_source(tmp_path / "in.mp4")
    sink = open_sink(str(tmp_path / "out.mp4"), source, Style(NAMES, PALETTE))
    seen = set()
    for number, frame in enumerate(source):
        ids = np.full(frame.size, number % 2, np.uint8)
        frame.placed(Fit.of(frame.size, (32, 48)))
        sink.write(frame, Answer(ids, Timings(0, 0, 0)))
        seen |= threads() - before
    sink.close()
    assert number == 9 and not seen


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
@pytest.mark.parametrize("network", [(96, 128), (90, 200), (60, 34)])
@pytest.mark.parametrize("colours", [1, 6])
def test_a_frame_is_fitted_as_its_image_is(turn, network, colours):
    """By FFmpeg's scaler: the same places and colours, the same padding, up to rounding."""
    image = textured((240, 320))
    decoded = Decoded(decoded_frame(image, colours).picture.frame, turn, Converter())
    image = np.rot90(image, -turn // 90)
    assert decoded.size == image.shape[:2] == decoded.image().shape[:2]
    fit = Fit.of(decoded.size, network)
    found, expected = decoded.placed(fit).astype(int), fit.place(image).astype(int)
    assert found.shape == (*network, 3)
    rows, cols = fit.content_size
    assert not found[rows:].any() and not found[:, cols:].any()
    found, expected = found[2 : rows - 2, 2 : cols - 2], expected[2 : rows - 2, 2 : cols - 2]
    off = np.abs(found - expected)
    assert off.mean() < 0.6 and off.max() <= 4
    # No side, and no colour, is preferred: half a pixel beside its place it would be.
    assert np.abs((found - expected).mean(axis=(0, 1))).max() < 0.3
    for axis in (0, 1):
        ahead, behind = (np.roll(expected, k, axis)[1:-1, 1:-1] for k in (1, -1))
        slope = (behind - ahead) / 2
        beside = ((found - expected)[1:-1, 1:-1] * slope).sum() / (slope**2).sum()
        assert abs(beside) < 0.05


@pytest.mark.parametrize("network", [(240, 320), (300, 400), (12, 16)])
def test_a_frame_that_need_not_shrink_is_the_images_bytes(network):
    """And so is one too small for the scaler."""
    frame = decoded_frame(textured((240, 320)), 1)
    fit = Fit.of(frame.size, network)
    np.testing.assert_array_equal(frame.placed(fit), fit.place(frame.image))


def test_a_frame_becomes_an_image_only_where_it_is_looked_at(tmp_path, model, monkeypatch):
    """Not for an overlay that is drawn in the video's own colours."""
    asked = []
    for name in ("whole", "scaled"):
        made = getattr(Converter, name)
        monkeypatch.setattr(
            *(Converter, name),
            lambda *args, name=name, made=made: asked.append(name) or made(*args),
        )
    source = write_video(tmp_path / "a.mp4", [0, 0.04, 0.08], size=(96, 128))
    assert run(model, source, "-o", tmp_path / "out.mp4").exit_code == 0
    assert asked == ["scaled"] * 3
    assert run(model, source, "-o", tmp_path / "frames").exit_code == 0
    assert sorted(asked) == ["scaled"] * 6 + ["whole"] * 3


@pytest.mark.parametrize("alpha", [0.0, 0.37, 0.5, 1.0])
@pytest.mark.parametrize("colours", [1, 2, 6, None])
def test_drawn_in_yuv_it_is_the_same_picture(alpha, colours):
    """As drawn in RGB and then coded; None: from a source that gives RGB alone."""
    size = (96, 144)
    frame = Frame("a", textured(size), 0.0, 0.0)
    if colours is not None:
        frame = decoded_frame(textured(size), colours)
    names, palette = (*NAMES, "unused"), (*PALETTE, (1, 2, 3))
    in_yuv = YuvOverlay(size, names, palette, alpha)
    in_rgb = VideoOverlay(size, names, palette, alpha)
    for shift in (0, 1, 2):
        frame = dataclasses.replace(frame, time=float(shift))  # the legend changes as well
        ids = np.roll(striped_ids(size), 48 * shift, axis=1)
        ids[:, 72:] = np.where(shift, ids[:, 72:], 0)
        drawn = in_yuv.draw(frame, ids)
        rgb = av.VideoFrame.from_ndarray(in_rgb.draw(frame.image, ids), format="rgb24")
        rgb.colorspace = colours or 6
        expected = rgb.reformat(format="yuv420p")
        assert (drawn.height, drawn.width) == in_yuv.shape == (expected.height, expected.width)
        assert drawn.colorspace == (colours or 6) and drawn.color_range == 1
        inside = away_from_borders(ids)  # where swscale mixes the colours on both sides
        for got, want, step in zip(_planes(drawn), _planes(expected), (1, 2, 2)):
            off = np.abs(got.astype(int) - want)[: size[0] // step]
            assert off[inside[::step, ::step]].max() <= 3 and off.mean() < 2.5
        np.testing.assert_array_equal(_planes(drawn)[0][size[0] :], _planes(expected)[0][size[0] :])


def test_a_video_says_what_its_colours_mean(tmp_path, model):
    """Else a player takes the colours of BT.709 for those of BT.601, or the other way around."""
    source = tmp_path / "hd.mp4"
    with av.open(str(source), "w") as file:
        video = file.add_stream("libx264", rate=25)
        video.height, video.width = FRAME
        video.pix_fmt = "yuv420p"
        video.codec_context.colorspace = video.codec_context.color_primaries = 1
        video.codec_context.color_range = 1
        for i in range(4):
            frame = decoded_frame(scene(), 1).picture.frame
            frame.pts, frame.time_base = i, Fraction(1, 25)
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
    assert run(model, source, "-o", tmp_path / "a.mp4", "--alpha", 1).exit_code == 0
    with av.open(str(tmp_path / "a.mp4")) as file:
        frame = next(file.decode(video=0))
    assert (frame.colorspace, frame.color_range) == (1, 1)
    image = frame.to_ndarray(format="rgb24")
    np.testing.assert_allclose(image[10, 30], PALETTE[RED], atol=6)
    np.testing.assert_allclose(image[40, 30], PALETTE[BLUE], atol=6)


@pytest.mark.parametrize("size", [(47, 63), (48, 63), (47, 64)])
@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
def test_videos_of_odd_sizes(tmp_path, model, size, suffix):
    """A value of a colour is of 2x2 pixels, which half of them could be missing of."""
    source = tmp_path / "odd.avi"
    with av.open(str(source), "w") as file:
        video = file.add_stream("mjpeg", rate=25, options={"qscale": "2"})
        video.height, video.width = size
        video.pix_fmt = "yuvj444p"
        for i in range(3):
            frame = av.VideoFrame.from_ndarray(scene(size), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
    assert run(model, source, "-o", tmp_path / f"a{suffix}", "--alpha", 1).exit_code == 0
    image = described(tmp_path / f"a{suffix}")["image"]
    np.testing.assert_allclose(image[10, 30], PALETTE[RED], atol=30)
    np.testing.assert_allclose(image[40, 30], PALETTE[BLUE], atol=30)

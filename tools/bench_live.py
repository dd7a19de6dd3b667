"""Measures the loop, the live page's server and their memory, without a device.

    python tools/bench_live.py [--scene colours] [--seconds 20] [--long 10000] [--json FILE]
    python tools/bench_live.py --only soak --soak 3600 --csv soak.csv

The network's place takes the stand-in for an Edge TPU (`tests/device/standin_delegate.c`), which
takes 40 ms for each frame and next to no CPU. So the rest of the loop is what is measured: end to
end as a share of the network's own rate, the CPU's milliseconds, peak memory, how old a picture is
for clients of many kinds, and whether anything grows. Needs a C compiler and the extra `video`.

What there is to see is one of two scenes, for a network of 384x480:

- `street`: a drive into a street of the web page's samples, with a camera's noise. The answers
  are the packaged model's own to these frames, handed out by the stand-in. Classes meet in a
  quarter to a third of its cells, as in CamVid's streets.
- `colours`: patches of random colours that move sideways, and a pixel's strongest colour as its
  class. Classes meet in two thirds of the cells, which makes class ids dearer than on streets.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import http.client
import io
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "device")]
SLEEP_MS = 40
RATE = 25
SAMPLE_SECONDS = 10.0
SPAN_SECONDS = 2.0
STAGE_FRAMES = 48
ROUND = 64
NETWORK = (384, 480)
STRIDE = 8
SCENES = ("street", "colours")
SAMPLE = ROOT / "keras_bisenet" / "web" / "page" / "samples" / "street_3.jpg"
VIDEO_SIZES = {"480x360": (360, 480), "1280x720": (720, 1280)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=20, help="for each live measurement")
    parser.add_argument("--frames", type=int, default=400, help="of each video")
    parser.add_argument("--long", type=int, default=0, help="frames of a long 720p video")
    parser.add_argument("--soak", type=float, default=0, help="seconds of a live page with clients")
    parser.add_argument(
        "--only", choices=["videos", "stages", "long", "live", "soak"], help="that alone"
    )
    parser.add_argument("--scene", choices=SCENES, default=SCENES[0], help="what there is to see")
    parser.add_argument("--csv", type=Path, help="where the soak's samples go, one in 10 seconds")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    wanted = [options.only] if options.only else ["videos", "stages", "long", "live", "soak"]
    report: dict = {"cpus": len(os.sched_getaffinity(0)), "sleep_ms": SLEEP_MS}
    report["scene"] = options.scene
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), options.scene)
        if "videos" in wanted:
            report["videos"] = {
                name: bench.video(size, options.frames) for name, size in VIDEO_SIZES.items()
            }
        if "stages" in wanted:
            report["cpu_ms_by_stage"] = {
                name: bench.stages(size) for name, size in VIDEO_SIZES.items()
            }
        if "long" in wanted and options.long:
            report["long"] = bench.video((720, 1280), options.long)
        if "live" in wanted:
            report["live"] = bench.live((360, 480), options.seconds)
        if "soak" in wanted and options.soak:
            report["soak"] = bench.soak((360, 480), options.soak, options.csv)
    text = json.dumps(report, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


class Bench:
    """The measurements of a scene, with the files that they need in a folder."""

    def __init__(self, folder: Path, scene: str):
        from standin import SOURCE, compiled

        self.folder, self.model = folder, folder / "model_edgetpu.tflite"
        self.scene, self.answers = scene, folder / "answers"
        library = folder / "libedgetpu.so.1"
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, SOURCE], check=True)
        self.environment = {
            **os.environ,
            "LD_LIBRARY_PATH": str(folder),
            "STANDIN_SLEEP_MS": str(SLEEP_MS),
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }
        if scene == "street":
            self.environment["STANDIN_ANSWERS"] = str(self.answers)
        self.model.write_bytes(street_model() if scene == "street" else compiled(colours_model()))

    def drive(self, size: tuple[int, int], frames: int) -> Path:
        """A video of the scene; the answers to it go where the stand-in finds them."""
        path = self.folder / "drive.mp4"
        write_video(path, size, round_of(self.scene, size), frames)
        if self.scene == "street":
            answers = street_answers(round_of(self.scene, size))
            self.answers.write_bytes(b"".join(map(bytes, answers)))
        return path

    def video(self, size: tuple[int, int], frames: int) -> dict:
        """`run` from a video file to a video file.

        The processor's time is that of two seconds, in the median and at the least: other work
        makes each millisecond do less. Neither what the start costs is in it, nor the end. What
        inferences take of it is measured for itself, right behind.
        """
        samples, said = self.run(size, frames)
        share = re.search(r"(\S+) a second end to end, (\d+)%", said)
        spans, first = [], samples[len(samples) // 3]
        for taken in samples[len(samples) // 3 : -len(samples) // 20]:
            if taken["at"] - first["at"] >= SPAN_SECONDS:
                busy = (taken["cpu"] - first["cpu"]) / (taken["at"] - first["at"])
                spans.append(1000 * busy / float(share[1]))
                first = taken
        memory = [taken["mb"] for taken in samples]
        middle = memory[len(memory) // 2 : -len(memory) // 20]
        return {
            "frames": frames,
            "a_second": float(share[1]),
            "share_of_the_network": int(share[2]) / 100,
            "cpu_ms_per_frame": round(float(np.median(spans)), 1),
            "least_cpu_ms_per_frame": round(min(spans), 1),
            "cpu_ms_per_inference": round(self.inference(), 2),
            "peak_mb": round(max(memory)),
            "growth_mb_in_the_second_half": round(middle[-1] - middle[0], 1),
        }

    def inference(self) -> float:
        """The processor's milliseconds for an inference: the tensors' way there and back, the
        runtime, and what the stand-in does beside waiting."""
        program = (
            "import sys, time\n"
            "import numpy as np\n"
            "from keras_bisenet.runtime.segmenter import Segmenter\n"
            "segmenter = Segmenter(sys.argv[1], delegate='edgetpu')\n"
            "array = np.zeros((1, *segmenter.info.size, 3), segmenter.info.input_dtype)\n"
            "segmenter.invoke(array)\n"
            "start = time.process_time()\n"
            "for _ in range(100): segmenter.invoke(array)\n"
            "print(10 * (time.process_time() - start))\n"
        )
        command = [sys.executable, "-c", program, self.model]
        return float(subprocess.check_output(command, env=self.environment, text=True))

    def stages(self, size: tuple[int, int]) -> dict:
        """The processor's milliseconds for a frame, stage by stage, one after the other: the
        least of three rounds, as nothing but this is to be counted."""
        from keras_bisenet.lite.record import read_record
        from keras_bisenet.runtime.loop import prepared_frame
        from keras_bisenet.runtime.segmenter import Answer, Segmenter, Timings
        from keras_bisenet.runtime.sinks import Style, open_sink
        from keras_bisenet.runtime.sinks.yuv import YuvOverlay
        from keras_bisenet.runtime.sources import open_source

        path, segmenter = self.drive(size, STAGE_FRAMES), Segmenter(colours_model())
        answers = street_answers(round_of(self.scene, size)) if self.scene == "street" else None
        classes = read_record(self.model).label_map
        style = Style(classes.names, classes.palette)
        rounds = []
        for number in range(3):
            spent = {}
            source = open_source(path)
            with spending(spent, "decode"):
                frames = list(source)
            with spending(spent, "letterbox"):
                prepared = [prepared_frame(segmenter, frame)[0] for frame in frames]
            raws = [(segmenter.invoke(array), fit) for array, fit in prepared]
            if answers:
                raws = [(answer, fit) for answer, (_, fit) in zip(answers, prepared)]
            with spending(spent, "class_ids"):
                ids = [segmenter.finish(raw, fit) for raw, fit in raws]
            overlay = YuvOverlay(size, classes.names, classes.palette)
            with spending(spent, "draw"):
                for frame, of_frame in zip(frames, ids):
                    overlay.draw(frame, of_frame)
            sink = open_sink(str(self.folder / f"{number}.mp4"), source, style)
            with spending(spent, "encode"):
                for frame, of_frame in zip(frames, ids):
                    sink.write(frame, Answer(of_frame, Timings(0, 0, 0)))
                sink.close()
            spent["encode"] -= spent["draw"]
            rounds.append(spent)
        least = {name: min(spent[name] for spent in rounds) for name in rounds[0]}
        return {name: round(1000 * least[name] / STAGE_FRAMES, 2) for name in least}

    def run(self, size: tuple[int, int], frames: int) -> tuple[list[dict], str]:
        """Samples of the process all along, each with its time, and what it said."""
        source, out = self.drive(size, frames), self.folder / "out.mp4"
        process = self.start("run", self.model, source, "-o", out, "--delegate", "edgetpu")
        samples = []
        while process.poll() is None:
            with contextlib.suppress(OSError, TypeError):
                samples.append({"at": time.monotonic(), **sample(process.pid)})
            time.sleep(0.05)
        said, errors = process.communicate()
        assert process.returncode == 0, errors
        return samples, said

    def live(self, size: tuple[int, int], seconds: float) -> dict:
        """The live page: what clients of several kinds see, and what they cost the loop."""
        with self.served(size) as (port, process):
            found = {}
            for name, clients in (
                ("alone", []),
                ("page", [Page(port)]),
                ("page_200_kB_s", [Page(port, 200_000)]),
                ("stream_200_kB_s", [Stream(port, 200_000)]),
                ("20_pages", [Page(port) for _ in range(20)]),
            ):
                before, start = counted(port), time.monotonic()
                with running(clients):
                    time.sleep(seconds)
                    ages = [age for client in clients for age in client.ages]
                rate = (counted(port) - before) / (time.monotonic() - start)
                found[name] = {"answers_a_second": round(rate, 2)}
                if ages:
                    found[name]["age_s"] = {
                        "p50": round(float(np.percentile(ages, 50)), 3),
                        "p95": round(float(np.percentile(ages, 95)), 3),
                    }
            found["memory_mb"] = round(sample(process.pid)["mb"])
        return found

    def soak(self, size: tuple[int, int], seconds: float, csv: Path | None) -> dict:
        """The live page for long, with two pages and a slow stream that come, look for 30 seconds
        and go."""
        samples: list[dict] = []
        with self.served(size) as (port, process):
            start = time.monotonic()
            while (now := time.monotonic() - start) < seconds:
                with running([Page(port), Page(port), Stream(port, 200_000)]):
                    for _ in range(3):
                        time.sleep(min(SAMPLE_SECONDS, seconds / 10))
                        now = time.monotonic() - start
                        taken = {"seconds": round(now, 1), **sample(process.pid)}
                        samples.append({**taken, "answers": counted(port)})
                        if csv:
                            write_csv(csv, samples)
        columns = ("mb", "descriptors", "threads")
        quarters = [samples[len(samples) * i // 4 : len(samples) * (i + 1) // 4] for i in range(4)]
        return {
            "minutes": round(seconds / 60, 1),
            "answers_a_second": round(samples[-1]["answers"] / samples[-1]["seconds"], 2),
            "cpu_ms_per_answer": round(1000 * samples[-1]["cpu"] / samples[-1]["answers"], 2),
            # The mean of each quarter of the time: what grows, grows from one to the next.
            **{
                name: [round(float(np.mean([one[name] for one in part])), 1) for part in quarters]
                for name in columns
            },
            **{f"most_{name}": max(one[name] for one in samples) for name in columns},
        }

    @contextlib.contextmanager
    def served(self, size: tuple[int, int]):
        """A live page over a video of its own; yields its port and the process."""
        source = self.drive(size, 250)
        process = self.start(
            *("live", self.model, source, "--delegate", "edgetpu", "--listen", "127.0.0.1:0")
        )
        try:
            line = process.stdout.readline()
            assert "live at" in line, process.stderr.read()
            port = int(re.search(r":(\d+)/", line)[1])
            while not counted(port):
                time.sleep(0.1)
            yield port, process
        finally:
            process.terminate()
            process.communicate()

    def start(self, *arguments) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-u", "-m", "keras_bisenet.cli", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        )


@contextlib.contextmanager
def spending(spent: dict, name: str):
    """Counts the processor's seconds that a block takes, in all of this process's threads."""
    start = time.process_time()
    yield
    spent[name] = time.process_time() - start


def colours_model() -> bytes:
    """What the stand-in computes: colours as logits, at the stride of real models."""
    from tflite_tiny import tiny_model

    return tiny_model(NETWORK, stride=STRIDE)


def street_model() -> bytes:
    """A file that stands for the packaged model at the size NETWORK, compiled."""
    from standin import CUSTOM_OPERATOR
    from tflite_models import Graph, Op, T, model_bytes

    from keras_bisenet.lite.record import RECORD_FILE, read_record
    from keras_bisenet.pretrained import pretrained_model

    record = read_record(pretrained_model())
    record = dataclasses.replace(record, input_height=NETWORK[0], input_width=NETWORK[1])
    shape = (1, NETWORK[0] // STRIDE, NETWORK[1] // STRIDE, len(record.label_map.names))
    image = T("image", (1, *NETWORK, 3), "INT8", None, (1 / 255,), (-128,))
    logits = T("logits", shape, "INT8", None, (0.17,), (0,))
    operator = Op(CUSTOM_OPERATOR, (0,), (1,), custom=True)
    content = io.BytesIO(model_bytes(Graph([image, logits], [operator], (0,), (1,))))
    with zipfile.ZipFile(content, "a") as archive:
        archive.writestr(RECORD_FILE, json.dumps(record.to_json()))
    return content.getvalue()


def street_answers(pictures: Iterable[np.ndarray]) -> list[np.ndarray]:
    """The packaged model's logits for pictures that a network of the size NETWORK gets.

    Its own input is larger: the rest is black, as it is below and beside any picture.
    """
    from keras_bisenet.imaging.letterbox import Fit
    from keras_bisenet.pretrained import pretrained_model
    from keras_bisenet.runtime.segmenter import Segmenter

    segmenter, answers = Segmenter(pretrained_model()), []
    for picture in pictures:
        placed = np.zeros((*segmenter.info.size, 3), np.uint8)
        fit = Fit.of(picture.shape[:2], NETWORK)
        placed[: NETWORK[0], : NETWORK[1]] = fit.place(picture)
        raw = segmenter.invoke(segmenter.prepare(placed)[0])
        answers.append(raw[: NETWORK[0] // STRIDE, : NETWORK[1] // STRIDE].copy())
    return answers


def round_of(scene: str, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """`ROUND` pictures of a scene, RGB."""
    return (street if scene == "street" else colours)(size)


def street(size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Into the street, slightly to the right, and back, as a camera sees it: with noise that is
    another one in each picture."""
    rng = np.random.default_rng(0)
    with Image.open(SAMPLE) as file:
        sample = file.convert("RGB")
    for i in range(ROUND):
        nearer = abs(i - ROUND / 2) / (ROUND / 2)  # 1, at the start, to 0 and back
        width = sample.width * (0.75 + 0.2 * nearer)
        height = width * size[0] / size[1]
        left, top = (sample.width - width) * (0.6 - 0.2 * nearer), (sample.height - height) / 2
        box = (left, top, left + width, top + height)
        picture = np.asarray(sample.resize(size[::-1], Image.Resampling.BICUBIC, box))
        noise = rng.normal(0, 2, (*size, 1)).round()
        yield np.clip(picture + noise, 0, 255).astype(np.uint8)


def colours(size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Patches of random colours, with texture, that move sideways."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (size[0] // 40 + 2, size[1] // 40 + 2, 3), dtype=np.uint8)
    shape = (size[1] + 128, size[0])
    scene = np.asarray(Image.fromarray(small).resize(shape, Image.BICUBIC)).astype(np.int16)
    scene = np.clip(scene + rng.integers(-6, 7, scene.shape), 0, 255).astype(np.uint8)
    for i in range(ROUND):
        yield np.ascontiguousarray(scene[:, 2 * i : 2 * i + size[1]])


def write_video(
    path: Path, size: tuple[int, int], pictures: Iterable[np.ndarray], frames: int
) -> None:
    """A video of so many frames: the pictures again and again, coded once."""
    import av

    with av.open(str(path), "w") as file:
        video = file.add_stream("libx264", rate=RATE, options={"preset": "ultrafast"})
        video.height, video.width = size
        video.pix_fmt = "yuv420p"
        packets = []
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, RATE)
            packets += video.encode(frame)
        packets += video.encode(None)
        contents = [(bytes(packet), packet.is_keyframe) for packet in packets]
        for i in range(frames):
            content, is_keyframe = contents[i % len(contents)]
            packet = av.Packet(content)
            packet.pts = packet.dts = i
            packet.time_base, packet.stream = Fraction(1, RATE), video
            packet.is_keyframe = is_keyframe
            file.mux(packet)


def write_csv(path: Path, samples: list[dict]) -> None:
    lines = [",".join(samples[0]), *(",".join(map(str, taken.values())) for taken in samples)]
    path.write_text("\n".join(lines) + "\n")


def sample(pid: int) -> dict:
    """Memory in MB, CPU seconds, open descriptors and threads of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    return {
        "mb": round(int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024, 1),
        "cpu": (int(fields[11]) + int(fields[12])) / ticks,
        "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "threads": int(re.search(r"Threads:\s+(\d+)", status)[1]),
    }


def counted(port: int) -> int:
    """The answers so far."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/status.json")
    found = json.loads(connection.getresponse().read())
    connection.close()
    return found["frames"]["written"]


@contextlib.contextmanager
def running(clients: list):
    for client in clients:
        client.start()
    try:
        yield
    finally:
        for client in clients:
            client.ended.set()
        for client in clients:
            client.join()


class Client(threading.Thread):
    """A client with a line of so many bytes a second. `ages`: how old each picture was when it
    had come, in seconds since its capture."""

    def __init__(self, port: int, bytes_a_second: float = 0):
        super().__init__(daemon=True)
        self.port, self.bytes_a_second = port, bytes_a_second
        self.ended, self.ages = threading.Event(), []

    def connect(self) -> socket.socket:
        connection = socket.socket()
        if self.bytes_a_second:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)
        connection.settimeout(15)
        connection.connect(("127.0.0.1", self.port))
        return connection

    def receive(self, connection: socket.socket) -> bytes:
        chunk = connection.recv(8192 if self.bytes_a_second else 1 << 18)
        if self.bytes_a_second:
            time.sleep(len(chunk) / self.bytes_a_second)
        return chunk


class Page(Client):
    """Pulls pictures with their masks, as the page does."""

    def run(self) -> None:
        number = 0
        with self.connect() as connection:
            while not self.ended.is_set():
                headers, _ = self.get(connection, f"/frame.jpg?after={number}&ids=1")
                number, age = int(headers["x-frame"]), int(headers["x-age-ms"]) / 1000
                self.ages.append(age + headers["took"])

    def get(self, connection: socket.socket, path: str) -> tuple[dict, bytes]:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        received = b""
        while b"\r\n\r\n" not in received:
            received += self.receive(connection)
        start = time.monotonic()
        head, _, body = received.partition(b"\r\n\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:])
        while len(body) < int(headers["content-length"]):
            body += self.receive(connection)
        return {**headers, "took": time.monotonic() - start}, body


class Stream(Client):
    """Takes the stream; the age of a picture is by the number of the newest answer then."""

    def run(self) -> None:
        with self.connect() as connection:
            connection.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
            waiting, last = b"", 0
            while not self.ended.is_set():
                waiting = (waiting + self.receive(connection))[-(1 << 19) :]
                numbers = re.findall(rb"X-Frame: (\d+)\r\n", waiting)
                if numbers and int(numbers[-1]) != last:
                    last = int(numbers[-1])
                    self.ages.append((counted(self.port) - last) * SLEEP_MS / 1000)


if __name__ == "__main__":
    main()

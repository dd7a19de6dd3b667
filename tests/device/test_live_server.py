"""`keras-bisenet live`: what its server answers, and what it refuses."""

import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cameras import number_of
from click.testing import CliRunner
from PIL import Image
from test_live_sources import SECONDS, Fed, Numbered, comes_true
from tflite_tiny import NAMES, PALETTE, class_of, tiny_model

from keras_bisenet.cli import main
from keras_bisenet.errors import UsageError, UserError
from keras_bisenet.runtime.loop import run_loop
from keras_bisenet.runtime.segmenter import Segmenter
from keras_bisenet.runtime.sinks import Style
from keras_bisenet.runtime.sinks import http as http_module
from keras_bisenet.runtime.sinks.http import About, LiveServer, is_known_host
from keras_bisenet.runtime.sinks.view import View
from keras_bisenet.runtime.sources.base import without_password
from keras_bisenet.runtime.statistics import Statistics

SIZE = (48, 64)


class Live:
    """A server over a loop on numbered frames, in this process."""

    def __init__(self, source=None, stall=SECONDS, **options):
        segmenter = Segmenter(tiny_model(SIZE))
        self.view = View(Style(segmenter.info.names, segmenter.info.palette))
        self.statistics, self.stop = Statistics(), threading.Event()
        about = About("numbered", "tiny.tflite", "a runtime", stall=stall)
        self.source = source or Numbered(fps=30)
        self.server = LiveServer(("127.0.0.1", 0), self.view, self.statistics, about, **options)
        self.loop = threading.Thread(
            target=run_loop,
            args=(self.source, segmenter, self.view),
            kwargs={"statistics": self.statistics, "stop": self.stop},
            daemon=True,
        )

    def __enter__(self):
        self.server.__enter__()
        self.loop.start()
        if isinstance(self.source, Fed):
            self.source.give()
        assert self.view.after(0, SECONDS)
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.loop.join()
        self.server.__exit__()

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=SECONDS)

    def get(self, path, method="GET", **headers):
        connection = self.connect()
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, headers=names)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def raw(self, sent: bytes, is_enough=lambda received: False) -> bytes:
        """What a client gets that speaks its own HTTP, until it is enough, or hung up on."""
        address = ("127.0.0.1", self.server.server_port)
        with socket.create_connection(address, SECONDS) as connection:
            received, deadline = b"", time.monotonic() + SECONDS
            try:
                connection.sendall(sent)
                while time.monotonic() < deadline and not is_enough(received):
                    chunk = connection.recv(1 << 16)
                    if not chunk:
                        break
                    received += chunk
            except OSError:
                pass
            return received


@pytest.fixture
def live():
    with Live() as running:
        yield running


def image_of(body) -> np.ndarray:
    with Image.open(io.BytesIO(body)) as image:
        return np.asarray(image)


# === What it answers ===


def test_pictures_come_one_after_the_other_and_masks_belong_to_them():
    with Live(Fed()) as live:
        numbers = []
        for _ in range(5):
            number = int(live.get("/frame.jpg")[1]["X-Frame"])
            given = time.monotonic()
            live.source.give()
            status, headers, body = live.get(f"/frame.jpg?after={number}")
            assert status == 200 and headers["Content-Type"] == "image/jpeg"
            assert int(headers["X-Frame"]) == number + 1
            assert 0 <= int(headers["X-Age-Ms"]) <= 1000 * (time.monotonic() - given) + 1
            picture = image_of(body)
            numbers.append(number_of(picture))
            live.source.give()  # the mask is the picture's, though another one has come since
            assert live.view.after(number + 1, SECONDS).number == number + 2
            _, of, mask = live.get(f"/mask.png?ids=1&frame={headers['X-Frame']}")
            assert of["X-Frame"] == headers["X-Frame"]
            ids = image_of(mask)
            assert ids.shape == SIZE and ids.dtype == np.uint8
            assert np.mean(ids == class_of(picture)) > 0.98  # the picture is a JPEG, the mask not
        assert numbers == [1, 3, 5, 7, 9]
        _, _, mask = live.get("/mask.png")
        with Image.open(io.BytesIO(mask)) as image:
            assert image.mode == "P" and image.getpalette()[:12] == list(np.ravel(PALETTE))
        status, headers, body = live.get("/snapshot.jpg")
        assert status == 200 and image_of(body).shape[0] > SIZE[0]  # the legend is below


def test_a_picture_is_waited_for():
    with Live(Fed()) as live, ThreadPoolExecutor(1) as pool:
        number = int(live.get("/frame.jpg")[1]["X-Frame"])
        asked = pool.submit(live.get, f"/frame.jpg?after={number}")
        time.sleep(0.3)
        assert not asked.done()
        live.source.give()
        assert asked.result(SECONDS)[1]["X-Frame"] == str(number + 1)


def test_a_page_goes_on_after_the_server_was_started_anew():
    """The new one counts from 1, and the page asks for what comes after the old one's number."""
    with Live(Fed()) as live:
        assert live.get("/frame.jpg?after=50000")[1]["X-Frame"] == "1"


def test_a_slow_client_gets_a_picture_and_its_own_mask_at_once():
    """Asked for later, the mask would be gone: another frame's came in its place."""
    with Live(Fed()) as live:
        _, headers, both = live.get("/frame.jpg?after=0&ids=1")
        count = int(headers["X-Picture-Bytes"])
        picture, ids = image_of(both[:count]), image_of(both[count:])
        assert picture.shape == (*SIZE, 3) and ids.shape == SIZE
        assert np.mean(ids == class_of(picture)) > 0.98
        np.testing.assert_array_equal(image_of(both), picture)  # as any program reads it
        number = int(headers["X-Frame"])
        for later in range(number + 1, number + 4):
            live.source.give()
            assert live.view.after(later - 1, SECONDS).number == later
        status, _, line = live.get(f"/mask.png?frame={number}")
        assert status == 404 and b"not kept any more" in line


def test_motion_jpeg_goes_on(live):
    def numbers(received):
        return [int(number) for number in re.findall(rb"X-Frame: (\d+)", received)]

    received = live.raw(
        b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n",
        lambda received: len(numbers(received)) >= 5,
    )
    assert b"multipart/x-mixed-replace; boundary=frame" in received
    assert len(numbers(received)) >= 5 and numbers(received) == sorted(set(numbers(received)))


def test_what_programs_read(live):
    status, headers, body = live.get("/status.json")
    found = json.loads(body)
    assert status == 200 and headers["Content-Type"].startswith("application/json")
    assert found["source"] == "numbered" and found["model"] == "tiny.tflite"
    assert [entry["name"] for entry in found["classes"]] == list(NAMES)
    assert sum(entry["share"] for entry in found["classes"]) == pytest.approx(1, abs=0.001)
    assert found["size"] == list(SIZE) and found["healthy"] is True and found["clients"] >= 1
    assert found["frames"]["read"] >= found["frames"]["written"] > 0
    _, headers, body = live.get("/metrics")
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    lines = body.decode().splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert float(values['keras_bisenet_frames_total{stage="written"}']) > 0
    assert values["keras_bisenet_healthy"] == "1"
    # Seconds, of a network of a millisecond.
    assert 0 < float(values['keras_bisenet_network_seconds{quantile="0.5"}']) < 1
    assert live.get("/healthz")[::2] == (200, b"ok\n")


def test_health_is_of_fresh_answers():
    with Live(stall=1.0) as live:
        assert comes_true(lambda: live.get("/healthz")[0] == 200)
        live.source.close()  # the camera gives no more, and says nothing
        assert comes_true(lambda: live.get("/healthz")[0] == 503)
        assert live.statistics.age > 1.0
        assert json.loads(live.get("/status.json")[2])["healthy"] is False
        assert b"keras_bisenet_healthy 0" in live.get("/metrics")[2]


def test_the_page_and_its_headers(live):
    for path, kind in (("/", "text/html"), ("/live.js", "text/javascript"), ("/live.css", "text")):
        status, headers, body = live.get(path)
        assert status == 200 and headers["Content-Type"].startswith(kind) and len(body) > 500
        assert headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert not re.search(rb"https?://", body)  # it needs no other machine
        assert live.get(path, method="HEAD")[::2] == (200, b"")


# === What it refuses ===


@pytest.mark.parametrize(
    "path",
    ["/../../etc/passwd", "/page/../http.py", "/..%2f..%2fetc/passwd", "//etc/passwd", "/live.js/"],
)
def test_there_is_no_way_to_other_files(live, path):
    assert live.get(path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_nothing_can_be_changed(live, method):
    for path in ("/", "/frame.jpg", "/status.json", "/nowhere"):
        status, headers, body = live.get(path, method=method)
        assert status == 405 and headers["Allow"] == "GET, HEAD" and b"GET and HEAD alone" in body
        assert headers["Connection"] == "close"
    # A page of this very origin, and a body: no other answer.
    received = live.raw(
        f"{method} / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n"
        "Sec-Fetch-Site: same-origin\r\nContent-Length: 9\r\n\r\npause=yes".encode()
    )
    assert received.startswith(b"HTTP/1.1 405 ") and received.count(b"HTTP/1.1") == 1


def test_a_body_is_refused(live):
    status, headers, _ = live.get("/", Content_Length="1000000000")
    assert status == 413 and headers["Connection"] == "close"
    assert live.get("/", Transfer_Encoding="chunked")[0] == 413


def test_hosts():
    own = socket.gethostname()
    for host in (
        "127.0.0.1:8000",
        "192.168.1.7",
        "[::1]:8000",
        "localhost",
        own,
        f"{own}.local:80",
    ):
        assert is_known_host(host), host
    for host in ("", "evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "]["):
        assert not is_known_host(host), host


def test_another_sites_name_and_page_get_nothing(live):
    assert live.get("/frame.jpg", Host="evil.example")[0] == 403
    assert live.raw(b"GET /frame.jpg HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 403 ")
    assert live.get("/frame.jpg", Sec_Fetch_Site="cross-site")[0] == 403
    assert live.get("/frame.jpg", Sec_Fetch_Site="same-origin")[0] == 200


TOKEN = "a long enough secret"


def test_a_token_opens_once_and_a_cookie_from_then_on():
    with Live(token=TOKEN) as live:
        for path in ("/", "/frame.jpg", "/status.json", "/metrics", "/stream.mjpg", "/nowhere"):
            assert live.get(path)[0] == 401, path
        assert live.get("/?token=wrong")[0] == 401
        assert live.get("/", Authorization="Bearer wrong")[0] == 401
        assert live.get("/", Cookie="keras_bisenet_token=wrong")[0] == 401
        assert live.get("/healthz")[0] == 200  # says nothing but whether it works
        assert live.get("/metrics", Authorization=f"Bearer {TOKEN}")[0] == 200
        path = live.server.url.split(str(live.server.server_port))[1]
        status, headers, _ = live.get(path)
        assert (status, headers["Location"]) == (303, "/")
        cookie = headers["Set-Cookie"]
        assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and TOKEN not in cookie
        assert live.get("/", Cookie=cookie.split(";")[0])[0] == 200


def test_other_addresses_need_a_token():
    view, statistics, about = View(Style(("a",), ((0, 0, 0),))), Statistics(), About("", "", "")
    for host in ("0.0.0.0", "192.168.1.7", "::"):
        with pytest.raises(UsageError, match="others can reach this address: give a token"):
            LiveServer((host, 0), view, statistics, about)
    with pytest.raises(UsageError, match="a token has 12 letters at least"):
        LiveServer(("127.0.0.1", 0), view, statistics, about, token="short")
    with pytest.raises(UserError, match="cannot listen there"):
        LiveServer(("192.0.2.1", 8000), view, statistics, about, token=TOKEN)


# === Bad clients ===


def test_requests_that_are_too_large_or_make_no_sense(live):
    for sent in (
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: " + b"a" * 70_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01" + bytes(range(256)) + b"\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n\r\n",
    ):
        received = live.raw(sent)
        assert received == b"" or re.search(rb"(HTTP/1.1 |Error code: )(4\d\d|505)", received)
    assert live.get(f"/frame.jpg?after={'9' * 5000}")[0] == 200
    assert live.get("/frame.jpg?" + "a=1&" * 1000)[0] == 200
    assert live.get("/mask.png?ids=%00")[0] == 200
    assert live.get("/mask.png?frame=-1")[0] == 404


def test_a_slow_request_is_hung_up_on(live, monkeypatch):
    monkeypatch.setattr(http_module, "REQUEST_SECONDS", 0.5)
    sent = 0
    with socket.create_connection(("127.0.0.1", live.server.server_port)) as connection:
        connection.settimeout(SECONDS)
        with pytest.raises(OSError):
            for letter in b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 300:
                connection.sendall(bytes([letter]))
                sent += 1
                time.sleep(0.1)
    assert sent < 300  # whoever is busy, it was not heard out
    assert live.get("/")[0] == 200


def test_two_hundred_connections_leave_nothing(live, monkeypatch):
    monkeypatch.setattr(http_module, "MAX_CLIENTS", 20)
    threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
    address = ("127.0.0.1", live.server.server_port)

    def is_refused(connection) -> bool:
        try:
            return connection.recv(100, socket.MSG_PEEK).startswith(b"HTTP/1.1 503 ")
        except OSError:
            return False

    def rate_with(number: int) -> float:
        """The answers a second while so many are there."""
        before, start = live.statistics.written, time.monotonic()
        connections = [socket.create_connection(address, SECONDS) for _ in range(number)]
        for connection in connections:
            connection.setblocking(False)
        assert comes_true(lambda: sum(map(is_refused, connections)) >= number - 20)
        assert live.server.clients <= 20
        time.sleep(0.5)
        rate = (live.statistics.written - before) / (time.monotonic() - start)
        for connection in connections:
            connection.close()
        assert comes_true(lambda: live.server.clients == 0)
        return rate

    # The loop goes on at its rate. Others use this machine too, now more and now less.
    rates = []
    for _ in range(5):
        rates.append((rate_with(0), rate_with(200)))
        if rates[-1][1] > 0.6 * rates[-1][0] > 0:
            break
    assert rates[-1][1] > 0.6 * rates[-1][0] > 0, rates
    assert live.get("/")[0] == 200
    assert comes_true(lambda: threading.active_count() <= threads)
    assert comes_true(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)


def test_a_slow_client_of_the_stream_gets_fewer_pictures_not_older_ones():
    size = (240, 320)
    rng = np.random.default_rng(0)

    class Noise(Numbered):
        def __iter__(self):
            for frame in super().__iter__():
                image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
                yield type(frame)(frame.name, image, frame.time, frame.captured)

    with Live() as live:
        live.stop.set()
        live.loop.join()
        live.view.is_closed = False
        segmenter, stop = Segmenter(tiny_model(SIZE)), threading.Event()
        loop = threading.Thread(
            target=run_loop,
            args=(Noise(fps=30), segmenter, KeptOpen(live.view)),
            kwargs={"statistics": live.statistics, "stop": stop},
            daemon=True,
        )
        loop.start()
        received, first = b"", live.view.newest().number
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 << 10)
            connection.connect(("127.0.0.1", live.server.server_port))
            connection.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
            deadline = time.monotonic() + SECONDS
            while live.view.newest().number < first + 80 and time.monotonic() < deadline:
                received = (received + connection.recv(10_000))[-400_000:]
                time.sleep(0.05)  # 200 kB a second
            newest = live.view.newest().number
        stop.set()
        loop.join()
    last = int(re.findall(rb"X-Frame: (\d+)", received)[-1])
    assert newest >= first + 80 and newest - last < 45  # 1.5 s at 30 frames a second


class KeptOpen:
    """A view that its loop does not close."""

    def __init__(self, view):
        self.write, self.close = view.write, lambda: None


def test_many_clients_share_the_work(live):
    """Pictures are encoded once, however many look."""

    def look(_):
        return [int(live.get("/frame.jpg?after=0")[1]["X-Frame"]) for _ in range(5)]

    with ThreadPoolExecutor(12) as pool:
        numbers = [number for found in pool.map(look, range(12)) for number in found]
    assert len(numbers) == 60 and max(numbers) > 0


# === The command ===


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(tiny_model(SIZE))
    return path


def test_the_command_serves_tells_systemd_and_ends_on_sigterm(tmp_path, model):
    av = pytest.importorskip("av")
    from test_video import write_video

    assert av
    video = write_video(tmp_path / "drive.mp4", [i / 25 for i in range(25)])
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.settimeout(SECONDS)
    environment = {
        **os.environ,
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "WATCHDOG_USEC": "1500000",
    }
    program = "from keras_bisenet.cli import main; main()"
    command = [sys.executable, "-u", "-c", program, "live", model, video, "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    said = process.stdout.readline()
    port = int(re.search(r"live at http://127.0.0.1:(\d+)/, Ctrl-C ends it", said)[1])
    assert manager.recv(100) == b"READY=1\nWATCHDOG=1"
    assert manager.recv(100) == b"WATCHDOG=1"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    connection.request("GET", "/healthz")
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"ok\n")

    def written() -> int:
        connection.request("GET", "/status.json")
        return json.loads(connection.getresponse().read())["frames"]["written"]

    assert comes_true(lambda: written() > 25)  # the video, of one second, begins again
    connection.close()
    process.send_signal(signal.SIGTERM)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and errors == ""
    assert re.match(r"\d+ answers in \d+\.\d s, \d+ frames left out\n$", said)
    assert int(said.split()[0]) > 25
    heard = b""
    while b"STOPPING" not in heard:
        heard = manager.recv(100)
    manager.close()


def test_the_watchdog_is_not_fed_without_progress(tmp_path, monkeypatch):
    from keras_bisenet.runtime.systemd import Watchdog

    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "600000")
    progress = [0]

    def heard(seconds: float) -> bytes:
        manager.settimeout(seconds)
        return manager.recv(100)

    with Watchdog(lambda: progress[0]):
        for expected in (b"READY=1\nWATCHDOG=1", b"WATCHDOG=1"):
            with pytest.raises(OSError, match="timed out"):  # a socket.timeout before Python 3.10
                heard(0.7)
            progress[0] += 5
            assert heard(SECONDS) == expected
    assert heard(SECONDS) == b"STOPPING=1"
    manager.close()


def live_command(*args):
    return CliRunner().invoke(main, ["live", *(str(arg) for arg in args)])


def test_what_the_command_refuses(tmp_path, model, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["keras-bisenet", "live", "0", "--listen", "0.0.0.0:80"])
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    for args, code, message in (
        ([model, "0", "--listen", "8000"], 2, "--listen 8000: give HOST:PORT"),
        ([model, "0", "--listen", "a:99999"], 2, "give HOST:PORT"),
        ([model, tmp_path / "photo.png"], 2, "name a camera, a stream or a video"),
        ([model, "0", "--token-file", tmp_path / "none"], 1, "none: No such file or directory"),
        ([model, "0", "--listen", "0.0.0.0:80", "--print-unit"], 2, "give --token-file FILE"),
        ([model], 2, "a model and nothing to segment"),
    ):
        result = live_command(*args)
        assert result.exit_code == code and message in result.output, result.output
        assert result.output.count("\n") == 1


def test_the_unit(tmp_path, model, monkeypatch):
    token = tmp_path / "token"
    token.write_text("a long enough secret")
    words = ["live", str(model), "pi", "--listen", "0.0.0.0:8000", "--token-file", str(token)]
    monkeypatch.setattr(sys, "argv", ["keras-bisenet", *words, "--print-unit"])
    result = live_command(*words[1:], "--print-unit")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    start = next(line for line in lines if line.startswith("ExecStart="))
    assert re.match(r"ExecStart=/\S+ (-m keras_bisenet.cli )?live ", start)
    assert f"{model} pi --listen 0.0.0.0:8000" in start
    assert start.endswith(" --token-file %d/token") and "--print-unit" not in start
    assert f"LoadCredential=token:{token}" in lines and "KillMode=mixed" in lines
    for line in ("Type=notify", "WatchdogSec=30", "Restart=on-failure", "DynamicUser=yes"):
        assert line in lines


def test_the_unit_has_whole_paths_of_files_alone(tmp_path, model, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("live", "pi", "edgetpu", "4"):  # words of the command line, and of no file
        (tmp_path / name).mkdir()
    words = [model.name, "pi", "--delegate", "edgetpu", "--threads", "4"]
    monkeypatch.setattr(sys, "argv", ["keras-bisenet", "live", *words, "--print-unit"])
    result = live_command(*words, "--print-unit")
    assert result.exit_code == 0, result.output
    start = next(line for line in result.output.splitlines() if line.startswith("ExecStart="))
    assert start.endswith(f" live {tmp_path / model.name} pi --delegate edgetpu --threads 4")


def test_passwords_of_cameras_are_not_shown():
    assert without_password("rtsp://me:secret@camera:554/x") == "rtsp://me:***@camera:554/x"
    assert without_password("http://camera/x@y:z") == "http://camera/x@y:z"
    from keras_bisenet.runtime.sources import open_source

    with pytest.raises(UserError) as caught:
        open_source("rtsp://me:secret@127.0.0.1:9/x")
    assert "secret" not in str(caught.value)

"""The live page's server: the standard library's, with bounds on what a client may do.

    /               the page                    /frame.jpg?after=N   the next picture after N,
                                                    with &ids=1 its class ids behind it
    /stream.mjpg    overlays, Motion JPEG       /mask.png?frame=N    class ids as a palette PNG
    /snapshot.jpg   the newest overlay          /mask.png?ids=1      class ids as a grey PNG
    /status.json    what programs read          /metrics             the same for Prometheus
    /healthz        200, or 503 when no fresh answers come

Nothing can be changed through it: there is GET and HEAD, and any other method is 405. The page's
controls act in the browser alone. The page pulls each picture when it
has shown the one before, so that a slow client sees fewer, and never older ones. It gets the class
ids with it, a grey PNG behind the JPEG, whose bytes `X-Picture-Bytes` counts: asked for later, they
may no longer be there.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import secrets
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from keras_bisenet.errors import UsageError, UserError
from keras_bisenet.runtime.sinks.view import Shown, View
from keras_bisenet.runtime.statistics import PERCENTILES, Statistics
from keras_bisenet.version import __version__

PAGE = Path(__file__).with_name("page")
ASSETS = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/live.js": ("live.js", "text/javascript; charset=utf-8"),
    "/live.css": ("live.css", "text/css; charset=utf-8"),
}

MAX_CLIENTS = 64
"""Connections at a time; a browser's page takes up to three. Others are told to come later."""

REQUEST_SECONDS = 10.0
"""What a client has for sending a request, however slowly, and for taking an answer."""

WAIT_SECONDS = 10.0
"""How long `/frame.jpg?after=N` waits for a picture."""

SEND_BUFFER = 64 << 10
"""Bytes that the system may hold back for a slow client of a stream: pictures grow old there."""

COOKIE = "keras_bisenet_token"
SHORTEST_TOKEN = 12

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class About:
    """What the page says of itself.

    Attributes:
        source: The source's name.
        model: The model's file name.
        runtime: What runs it.
        stall: Seconds without a fresh answer from which on `/healthz` is 503.
    """

    source: str
    model: str
    runtime: str
    stall: float = 10.0


class LiveServer(ThreadingHTTPServer):
    """Serves a view. `with LiveServer(...)` serves in a thread for as long as the block runs.

    Args:
        address: (host, port) to listen at; port 0 takes a free one.
        view: What to show.
        statistics: How the loop is doing.
        about: What to say of it.
        token: What a client must know; None, nothing. Anything but this machine needs one.

    Raises:
        UsageError: When another address than this machine's own is to be served without a
            token, or with a short one.
        UserError: When the address cannot be listened at.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 32

    def __init__(
        self,
        address: tuple[str, int],
        view: View,
        statistics: Statistics,
        about: About,
        token: str | None = None,
    ):
        host, port = address
        if not is_loopback(host) and token is None:
            raise UsageError(f"{host}: others can reach this address: give a token")
        if token is not None and len(token) < SHORTEST_TOKEN:
            raise UsageError(f"a token has {SHORTEST_TOKEN} letters at least: give a longer one")
        self.view, self.statistics, self.about, self.token = view, statistics, about, token
        self._connections: dict[socket.socket, float | None] = {}
        self._lock = threading.Lock()
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise UserError(
                f"{host}:{port}: cannot listen there ({error.strerror or error}): choose another "
                "--listen HOST:PORT"
            ) from error

    def __enter__(self) -> LiveServer:
        self._thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.25}, name="server", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.view.close()
        self.shutdown()
        self._thread.join()
        self.server_close()
        with self._lock:
            for connection in self._connections:
                _hang_up(connection)

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        host = str(host)
        if host in ("0.0.0.0", "::"):
            host = f"{socket.gethostname()}.local"
        shown = f"[{host}]" if ":" in host else host
        return f"http://{shown}:{port}/" + (
            f"?token={urllib.parse.quote(self.token, safe='')}" if self.token else ""
        )

    @property
    def clients(self) -> int:
        with self._lock:
            return len(self._connections)

    @property
    def is_healthy(self) -> bool:
        age = self.statistics.age
        return age is not None and age <= self.about.stall

    def get_request(self):
        connection, address = super().get_request()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        return connection, address

    def process_request(self, request, client_address) -> None:
        with self._lock:
            is_full = len(self._connections) >= MAX_CLIENTS
            if not is_full:
                self._connections[request] = time.monotonic() + REQUEST_SECONDS
        if is_full:
            request.settimeout(0.2)
            try:
                request.sendall(
                    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n"
                    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
                )
            except OSError:
                pass
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def shutdown_request(self, request) -> None:
        with self._lock:
            self._connections.pop(request, None)
        super().shutdown_request(request)

    def allow(self, connection: socket.socket, seconds: float | None) -> None:
        """Lets a client go on for so long; None, until it is done."""
        with self._lock:
            if connection in self._connections:
                deadline = None if seconds is None else time.monotonic() + seconds
                self._connections[connection] = deadline

    def service_actions(self) -> None:
        """Hangs up on who takes too long over a request: a byte now and then is no request."""
        now = time.monotonic()
        with self._lock:
            for connection, deadline in self._connections.items():
                if deadline is not None and deadline < now:
                    _hang_up(connection)

    def handle_error(self, request, client_address) -> None:
        """Clients come and go, and what they do is no line in anybody's log."""


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def new_token() -> str:
    return secrets.token_urlsafe(16)


class _Handler(BaseHTTPRequestHandler):
    server: LiveServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = f"keras-bisenet/{__version__}", ""
    timeout = REQUEST_SECONDS
    disable_nagle_algorithm = True

    def log_message(self, *_) -> None:
        pass

    def handle_one_request(self) -> None:
        self.server.allow(self.connection, REQUEST_SECONDS)
        try:
            super().handle_one_request()
        except (OSError, ValueError):  # it went away, or was hung up on
            self.close_connection = True

    def do_GET(self) -> None:
        self.server.allow(self.connection, None)
        refusal = self._refusal()
        if refusal:
            self._send(refusal[0], "text/plain; charset=utf-8", refusal[1].encode() + b"\n")
            return
        url = urllib.parse.urlsplit(self.path)
        try:
            query = dict(urllib.parse.parse_qsl(url.query, max_num_fields=8))
        except ValueError:
            query = {}
        if "token" in query:
            self._welcome()
        elif url.path in ASSETS:
            name, kind = ASSETS[url.path]
            self._send(200, kind, (PAGE / name).read_bytes())
        elif url.path in ROUTES:
            ROUTES[url.path](self, query)
        else:
            self._send(404, "text/plain; charset=utf-8", b"there is no such page\n")

    do_HEAD = do_GET

    def __getattr__(self, name: str):
        """The base class looks a method up by its name: each that is none of the two is refused."""
        if name.startswith("do_"):
            return self._refuse_method
        raise AttributeError(name)

    def _refuse_method(self) -> None:
        self.close_connection = True  # what its body says is not read
        line = b"nothing can be changed here: GET and HEAD alone\n"
        self._send(405, "text/plain; charset=utf-8", line, {"Allow": "GET, HEAD"})

    def _refusal(self) -> tuple[int, str] | None:
        """Why this request gets no answer: a status and a line; None where it gets one."""
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True
            return 413, "a request here has no body"
        if not is_known_host(self.headers.get("Host", "")):
            return 403, "this host name is not mine: call me by my address"
        if self.headers.get("Sec-Fetch-Site", "none") == "cross-site" and self.path != "/":
            return 403, "not for other sites' pages"
        if self.path.split("?")[0] != "/healthz" and not self._knows_token():
            return 401, "open the address that was printed, with its token"
        return None

    def _knows_token(self) -> bool:
        token = self.server.token
        if token is None:
            return True
        given = [
            *urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query).get("token", ())[:1]
        ]
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            given.append(value.strip())
        try:
            cookie = SimpleCookie(self.headers.get("Cookie", "")).get(COOKIE)
        except CookieError:
            cookie = None
        if cookie is not None and hmac.compare_digest(cookie.value.encode(), _pass(token)):
            return True
        return any(hmac.compare_digest(one.encode(), token.encode()) for one in given)

    def _welcome(self) -> None:
        """Gives a browser a cookie, and takes the token out of its address bar."""
        extra = {"Location": "/"}
        if self.server.token:
            value = _pass(self.server.token).decode()
            extra["Set-Cookie"] = f"{COOKIE}={value}; HttpOnly; SameSite=Strict; Path=/"
        self._send(303, "text/plain; charset=utf-8", b"", extra)

    def _send(self, status: int, kind: str, body: bytes, extra: dict | None = None) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, **(extra or {})}.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD" and status != 204:
            self.wfile.write(body)

    def _send_shown(
        self,
        shown: Shown | None,
        kind: str,
        make: Callable[[Shown], bytes],
        behind: Callable[[Shown], bytes] | None = None,
    ) -> None:
        if shown is None:
            self._send(503, "text/plain; charset=utf-8", b"no picture yet\n")
            return
        body, extra = make(shown), {"X-Frame": str(shown.number)}
        if behind:
            extra["X-Picture-Bytes"] = str(len(body))
            body += behind(shown)
        age = max(0.0, time.monotonic() - shown.captured)
        self._send(200, kind, body, {**extra, "X-Age-Ms": f"{1000 * age:.0f}"})

    def _frame(self, query: dict) -> None:
        shown = self.server.view.after(_number(query.get("after")), WAIT_SECONDS)
        if shown is None:
            self._send(204, "", b"")
        else:
            ids = (lambda shown: shown.mask(None)) if query.get("ids") == "1" else None
            self._send_shown(shown, "image/jpeg", Shown.picture, ids)

    def _mask(self, query: dict) -> None:
        view = self.server.view
        shown = view.newest()
        if "frame" in query:
            shown = view.numbered(_number(query["frame"]))
            if shown is None:
                line = b"this frame's mask is not kept any more: /frame.jpg?ids=1 gives both\n"
                self._send(404, "text/plain; charset=utf-8", line)
                return
        palette = None if query.get("ids") == "1" else view.palette
        self._send_shown(shown, "image/png", lambda shown: shown.mask(palette))

    def _snapshot(self, _: dict) -> None:
        view = self.server.view
        self._send_shown(view.newest(), "image/jpeg", view.drawn)

    def _stream(self, _: dict) -> None:
        """Overlays as they come; a client that is slow gets fewer."""
        boundary = "frame"
        self.close_connection = True
        self.send_response(200)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={boundary}")
        self.send_header("Connection", "close")
        self.end_headers()
        view, number = self.server.view, 0
        while self.command != "HEAD" and not view.is_closed:
            shown = view.after(number, WAIT_SECONDS)
            if shown is None:
                continue
            number = shown.number
            picture = view.drawn(shown)
            head = (
                f"--{boundary}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n"
                f"X-Frame: {number}\r\n\r\n"
            )
            self.wfile.write(head.encode() + picture + b"\r\n")

    def _status(self, _: dict) -> None:
        text = json.dumps(status(self.server), ensure_ascii=False)
        self._send(200, "application/json; charset=utf-8", text.encode())

    def _metrics(self, _: dict) -> None:
        self._send(200, "text/plain; version=0.0.4; charset=utf-8", metrics(self.server).encode())

    def _healthz(self, _: dict) -> None:
        healthy = self.server.is_healthy
        text = b"ok\n" if healthy else b"no fresh answers\n"
        self._send(200 if healthy else 503, "text/plain; charset=utf-8", text)


ROUTES: dict[str, Callable[[_Handler, dict], None]] = {
    "/frame.jpg": _Handler._frame,
    "/mask.png": _Handler._mask,
    "/snapshot.jpg": _Handler._snapshot,
    "/stream.mjpg": _Handler._stream,
    "/status.json": _Handler._status,
    "/metrics": _Handler._metrics,
    "/healthz": _Handler._healthz,
}


def is_known_host(header: str) -> bool:
    """Whether a Host header names this machine: by address, or by its own name.

    Another site's name that is made to lead here (DNS rebinding) is neither.
    """
    try:
        host = urllib.parse.urlsplit(f"//{header}").hostname
    except ValueError:  # brackets that are no address
        return False
    if not host:
        return False
    try:
        ipaddress.ip_address(host)
        return True
    except ValueError:
        own = socket.gethostname().lower()
        return host in ("localhost", own, f"{own}.local", own.split(".")[0] + ".local")


def status(server: LiveServer) -> dict:
    """What `/status.json` says."""
    shown, style = server.view.newest(), server.view.style
    shares = server.view.shares()
    return {
        **server.statistics.to_json(),
        "source": server.about.source,
        "model": server.about.model,
        "runtime": server.about.runtime,
        "healthy": server.is_healthy,
        "clients": server.clients,
        "frame": shown.number if shown else 0,
        "size": list(shown.ids.shape) if shown else None,
        "classes": [
            {"name": name, "color": list(color), "share": round(shares.get(i, 0.0), 5)}
            for i, (name, color) in enumerate(zip(style.names, style.palette))
        ],
    }


def metrics(server: LiveServer) -> str:
    """What `/metrics` says, in Prometheus' text format."""
    statistics = server.statistics
    lines = ["# TYPE keras_bisenet_frames_total counter"]
    for stage in ("read", "processed", "written", "dropped"):
        lines.append(f'keras_bisenet_frames_total{{stage="{stage}"}} {getattr(statistics, stage)}')
    for name, percentile in (
        ("network", statistics.network),
        ("latency", statistics.latency),
    ):
        lines.append(f"# TYPE keras_bisenet_{name}_seconds gauge")
        for p in PERCENTILES:
            value = percentile(p) / 1000
            lines.append(f'keras_bisenet_{name}_seconds{{quantile="{p / 100}"}} {value:.6f}')
    age = statistics.age
    for name, value in (
        ("frames_per_second", statistics.per_second("written")),
        ("age_seconds", float("nan") if age is None else age),
        ("clients", server.clients),
        ("healthy", int(server.is_healthy)),
    ):
        shown = "NaN" if value != value else f"{value:g}"
        lines += [f"# TYPE keras_bisenet_{name} gauge", f"keras_bisenet_{name} {shown}"]
    return "\n".join(lines) + "\n"


def _pass(token: str) -> bytes:
    """What a browser keeps in the token's place: letters that any cookie may have."""
    return hashlib.sha256(b"keras-bisenet live: " + token.encode()).hexdigest().encode()


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 16 else 0


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass

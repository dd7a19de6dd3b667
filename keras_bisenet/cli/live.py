"""`keras-bisenet live`: a page with a camera's picture and the answer over it."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from pathlib import Path

import click

from keras_bisenet.cli.options import DURATION, SIZE, delegate_options
from keras_bisenet.cli.run import model_and_source_of, source_options
from keras_bisenet.errors import UsageError, UserError
from keras_bisenet.progress import status_line
from keras_bisenet.runtime.interpreter import default_threads, runtime_name
from keras_bisenet.runtime.loop import run_loop, stopped_by_signals
from keras_bisenet.runtime.segmenter import Segmenter
from keras_bisenet.runtime.sinks import Style
from keras_bisenet.runtime.sinks.http import About, LiveServer, is_loopback, new_token
from keras_bisenet.runtime.sinks.view import View
from keras_bisenet.runtime.sources import SourceOptions, open_source, pi
from keras_bisenet.runtime.sources.repeated import Repeated
from keras_bisenet.runtime.statistics import Statistics
from keras_bisenet.runtime.systemd import Watchdog, unit


@click.command("live")
@click.argument("model_and_source", metavar="[MODEL] SOURCE", nargs=-1, required=True)
@click.option(
    "--listen",
    metavar="HOST:PORT",
    default="127.0.0.1:8000",
    show_default=True,
    help="Where to serve. Others reach 0.0.0.0:8000, and then need the token.",
)
@click.option(
    "--token",
    envvar="KERAS_BISENET_TOKEN",
    help="What others must know.  [default: a new one, which is printed]",
)
@click.option("--token-file", metavar="FILE", help="Read the token from a file.")
@click.option(
    "--stall",
    type=DURATION,
    default=10.0,
    help="After so long without a fresh answer /healthz says 503.  [default: 10s]",
)
@source_options
@click.option("--threads", type=click.IntRange(1), help="CPU threads.  [default: CPUs, at most 4]")
@click.option("--size", type=SIZE, help="Height x width, for a file whose input has open sides.")
@delegate_options
@click.option("--print-unit", is_flag=True, help="Print a systemd unit that runs this, and end.")
def command(
    model_and_source,
    listen,
    token,
    token_file,
    stall,
    camera_size,
    fps,
    rotate,
    threads,
    size,
    print_unit,
    delegate,
    delegate_options,
):
    """Segment SOURCE and show it on a page: the camera's picture, the answer over it.

    SOURCE is a camera (pi, 0, /dev/video0), a stream (rtsp://..., http://...) or a video, which
    is shown over and over. Without MODEL it is the street scene model of the package. The page
    needs nothing but this machine; http.py of the package says what else it serves, such as
    /stream.mjpg, /status.json, /metrics and /healthz.
    """
    address = _address(listen)
    model, source_name = model_and_source_of(model_and_source)
    if print_unit:
        files = {model, source_name, token_file, delegate}
        click.echo(_unit(sys.argv[1:], files, source_name, token_file, address), nl=False)
        return
    if token_file:
        token = _read_token(token_file)
    if token is None and not is_loopback(address[0]):
        token = new_token()

    # A service has its manager for patience: it is started anew when no answers come.
    source = open_source(source_name, SourceOptions(camera_size, fps, int(rotate), None))
    if not source.live:
        source = Repeated(source)
    segmenter = Segmenter(
        model, threads=threads, delegate=delegate, delegate_options=delegate_options, size=size
    )
    info, statistics, stop = segmenter.info, Statistics(), threading.Event()
    view = View(Style(info.names, info.palette))
    plural = "thread" if (threads or default_threads()) == 1 else "threads"
    runtime = f"{runtime_name()}, {threads or default_threads()} {plural}"
    about = About(source.name, Path(model).name, runtime, stall)
    with stopped_by_signals(stop), LiveServer(address, view, statistics, about, token) as server:
        shown = server.url if not token_file else server.url.split("?")[0]
        click.echo(f"{source.name}: live at {shown}, Ctrl-C ends it")
        with Watchdog(lambda: statistics.written), status_line(lambda: _status(statistics, server)):
            run_loop(source, segmenter, view, statistics=statistics, stop=stop)
    click.echo(
        f"{statistics.written} answers in {statistics.seconds or 0:.1f} s, "
        f"{statistics.dropped} frames left out"
    )


def _status(statistics: Statistics, server: LiveServer) -> str:
    return (
        f"{statistics.per_second('written'):.1f} answers a second, the newest "
        f"{statistics.age or 0:.2f} s old; {server.clients} connections"
    )


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"--listen {listen}: give HOST:PORT, such as 127.0.0.1:8000")
    return host, int(port)


def _read_token(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise UserError(f"{path}: {reason}: name a file that holds a token") from error


def _unit(
    arguments: list[str],
    files: set[str | None],
    source: str,
    token_file: str | None,
    address: tuple[str, int],
) -> str:
    """The unit for this very command line, with whole paths where one of its words names a file."""
    words = [_whole(word) if word in files else word for word in arguments]
    words = [word for word in words if word != "--print-unit"]
    if token_file:
        words = [word for word in words if word not in ("--token-file", _whole(token_file))]
        words += ["--token-file", "%d/token"]
    elif not is_loopback(address[0]):
        raise UsageError(
            f"--listen {address[0]}: others can reach this: give --token-file FILE, which root "
            "makes and the service alone reads"
        )
    program = shutil.which("keras-bisenet")
    start = [program] if program else [sys.executable, "-m", "keras_bisenet.cli"]
    description = f"Segmentation of {source}, shown live"
    return unit([*start, *words], description, _whole(token_file) if token_file else None)


def _whole(name: str) -> str:
    """The whole path, where it is one: `pi` and `edgetpu` are not, whatever lies here."""
    is_device = pi.NAME.fullmatch(name) or name.split(":")[0] == "edgetpu"
    return os.path.abspath(name) if os.path.exists(name) and not is_device else name

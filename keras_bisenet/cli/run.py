"""`keras-bisenet run`: segment images, folders, videos and cameras, and draw the result."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import click

from keras_bisenet.cli.options import CAMERA_SIZE, DURATION, SIZE, delegate_options
from keras_bisenet.errors import UsageError, UserError
from keras_bisenet.imaging.drawing import class_shares, share_text
from keras_bisenet.pretrained import named_model, pretrained_model
from keras_bisenet.progress import progress_bar, status_line
from keras_bisenet.runtime.interpreter import default_threads, runtime_name
from keras_bisenet.runtime.loop import run_loop, stopped_by_signals
from keras_bisenet.runtime.memory import keep_freed_memory
from keras_bisenet.runtime.segmenter import Answer, Segmenter
from keras_bisenet.runtime.sinks import Style, open_sink
from keras_bisenet.runtime.sources import Frame, Source, SourceOptions, open_source
from keras_bisenet.runtime.statistics import Statistics

PATIENCE = 30.0
"""Seconds for which a lost camera is looked for."""


def source_options(command):
    """The options that ask something of a camera or a video."""
    for option in reversed(
        (
            click.option(
                "--camera-size",
                type=CAMERA_SIZE,
                help="The size to ask a camera for, width by height: 1280x720.",
            ),
            click.option(
                "--fps",
                type=click.FloatRange(0, 1000, min_open=True),
                help="The frames per second to ask a camera for.",
            ),
            click.option(
                "--rotate",
                type=click.Choice(["0", "90", "180", "270"]),
                default="0",
                help="Degrees clockwise to turn the frames of a camera or a video by.",
            ),
        )
    ):
        command = option(command)
    return command


@click.command("run")
@click.argument("model_and_source", metavar="[MODEL] SOURCE", nargs=-1, required=True)
@click.option("-o", "--out", required=True, metavar="OUT", help="A file or a folder, see above.")
@click.option(
    "--output",
    type=click.Choice(["overlay", "mask", "both"]),
    default="overlay",
    show_default=True,
    help="The classes drawn over the image, a palette PNG of class ids, or both.",
)
@click.option(
    "--alpha",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="How strongly the overlay covers the image.",
)
@source_options
@click.option(
    "--segment",
    type=DURATION,
    help="Go on in a new video file after so long (10m): OUT_0001.mp4, OUT_0002.mp4 ...",
)
@click.option("--threads", type=click.IntRange(1), help="CPU threads.  [default: CPUs, at most 4]")
@click.option("--size", type=SIZE, help="Height x width, for a file whose input has open sides.")
@delegate_options
@click.option(
    "--reference",
    is_flag=True,
    help="TFLite's reference kernels: slow, but the same bytes in every runtime.",
)
def command(
    model_and_source,
    out,
    output,
    alpha,
    camera_size,
    fps,
    rotate,
    segment,
    threads,
    size,
    reference,
    delegate,
    delegate_options,
):
    """Segment SOURCE with MODEL, a .tflite file, and draw the result.

    Without MODEL it is the street scene model that comes with the package.

    \b
    SOURCE     OUT
    an image   an image file, or a folder
    a folder   a folder: NAME.png per image; its mask is NAME_mask.png;
               what lies in folders within it is left out
    a video    a video file (.mp4, .webm ...), or a folder for its frames
    a camera   the same; SOURCE is 0, 1 ... or /dev/video0, or pi for the
               Raspberry Pi's own; Ctrl-C ends it
    a stream   the same; SOURCE is rtsp://... or http://...

    The answer has the image's own size, and the overlay a legend below it.
    """
    model, source_name = model_and_source_of(model_and_source)
    source = open_source(source_name, SourceOptions(camera_size, fps, int(rotate), PATIENCE))
    segmenter = Segmenter(
        model,
        threads=threads,
        delegate=delegate,
        delegate_options=delegate_options,
        reference=reference,
        size=size,
    )
    info = segmenter.info
    sink = open_sink(out, source, Style(info.names, info.palette, output, alpha, segment))

    if source.kind == "video":
        keep_freed_memory()
    if source.live:
        click.echo(f"{source.name}: recording until Ctrl-C")
    statistics, stop = Statistics(), threading.Event()
    try:
        with stopped_by_signals(stop), _shown(source, statistics, segmenter) as answered:
            run_loop(source, segmenter, sink, statistics=statistics, stop=stop, answered=answered)
    finally:
        if statistics.written:
            kept = out if sink.places else None
            click.echo(_summary(source, statistics, threads or default_threads(), kept))
    if not statistics.written and not source.failures:
        raise UserError(f"{source.name}: stopped before its first frame")
    for note in source.notes:
        click.echo(note)
    if stop.is_set() and not source.live:
        of = f" of {source.length}" if source.length else ""
        raise UserError(f"stopped after {statistics.written}{of}: what was written is whole")
    if source.failures:
        raise UserError(
            f"{len(source.failures)} of {source.length} images could not be read: "
            + "; ".join(source.failures)
        )


def model_and_source_of(arguments: tuple[str, ...]) -> tuple[str, str]:
    if len(arguments) > 2:
        raise UsageError(
            f"one MODEL and one SOURCE, not {len(arguments)} names: for "
            "several images, name the folder that they lie in"
        )
    if len(arguments) == 2:
        model, source = arguments
        return named_model(model), source
    (source,) = arguments
    if Path(source).suffix == ".tflite":
        raise UsageError(f"{source}: a model and nothing to segment: name an image, folder, ...")
    return str(pretrained_model()), source


@contextlib.contextmanager
def _shown(source: Source, statistics: Statistics, segmenter: Segmenter):
    """Tells of the progress: a line for each image, a bar, or how a live source is doing."""
    if source.kind != "video":
        yield lambda frame, answer: click.echo(_line(frame, answer, segmenter))
    elif source.length is not None:
        with progress_bar("segmenting", source.length) as update:
            yield lambda frame, answer: update(1, f"{answer.timings.total:.1f} ms")
    else:
        with status_line(lambda: _status(statistics)):
            yield None


def _line(frame: Frame, answer: Answer, segmenter: Segmenter) -> str:
    """`street.jpg  360x480  12.3 ms  Road 31%, Sky 21%, Tree 10%`"""
    ids, names = answer.class_ids, segmenter.info.names
    height, width = ids.shape
    top = ", ".join(share_text(i, share, names) for i, share in class_shares(ids)[:3])
    return f"{frame.name}  {height}x{width}  {answer.timings.total:.1f} ms  {top}"


def _status(statistics: Statistics) -> str:
    return (
        f"{statistics.written} frames, {statistics.per_second('written'):.1f} a second, "
        f"{statistics.dropped} dropped, the newest {statistics.age or 0:.2f} s old"
    )


def _summary(source: Source, statistics: Statistics, threads: int, out: str | None) -> str:
    mean = statistics.mean
    plural = "1 thread" if threads == 1 else f"{threads} threads"
    where = f"{runtime_name()}, {plural}; " + (f"written to {out}" if out else "none of it is kept")
    if source.kind != "video":
        return (
            f"{statistics.written} done: mean {mean.total:.1f} ms (prepare {mean.prepare:.1f}, "
            f"network {mean.invoke:.1f}, finish {mean.finish:.1f}); {where}"
        )
    percentiles = ", ".join(f"p{p} {statistics.network(p):.1f}" for p in (50, 95, 99))
    dropped = f", {statistics.dropped} dropped" if source.live else ""
    return (
        f"{statistics.written} frames in {statistics.seconds or 0:.1f} s{dropped}: "
        f"{statistics.rate:.1f} a second end to end, {statistics.share:.0%} of the network's own "
        f"rate ({mean.invoke:.1f} ms: {percentiles}); {where}"
    )

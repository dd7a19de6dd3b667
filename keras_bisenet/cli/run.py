"""`keras-bisenet run`: segment images, folders, videos and cameras, and draw the result."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click
import numpy as np
from PIL import Image

from keras_bisenet.errors import UsageError, UserError
from keras_bisenet.files import replacing
from keras_bisenet.imaging.drawing import class_shares, overlay_with_legend, share_text
from keras_bisenet.imaging.reading import IMAGE_SUFFIXES
from keras_bisenet.pretrained import pretrained_model
from keras_bisenet.progress import progress_bar
from keras_bisenet.runtime.interpreter import default_threads, runtime_name
from keras_bisenet.runtime.segmenter import Answer, Segmenter, Timings
from keras_bisenet.runtime.sources import VIDEO_SUFFIXES, Frame, Images, Video, open_source, opencv

VIDEO_LEGEND_ROWS = 3
"""The legend's height in a video, at most; all of its frames are of one size."""

VIDEO_CODECS = {".avi": "MJPG", ".webm": "VP80"}
"""OpenCV's codes for what goes into a file of this suffix; the others take MPEG-4."""


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
@click.option("--threads", type=click.IntRange(1), help="CPU threads.  [default: CPUs, at most 4]")
@click.option("--delegate", metavar="edgetpu|PATH", help="Edge TPU, or a TFLite delegate library.")
@click.option(
    "--reference",
    is_flag=True,
    help="TFLite's reference kernels: slow, but the same bytes in every runtime.",
)
def command(model_and_source, out, output, alpha, threads, delegate, reference):
    """Segment SOURCE with MODEL, a .tflite file, and draw the result.

    Without MODEL it is the street scene model that comes with the package.

    \b
    SOURCE     OUT
    an image   an image file, or a folder
    a folder   a folder: NAME.png per image; its mask is NAME_mask.png
    a video    a video file (.mp4, .avi ...), or a folder for its frames
    a camera   the same; SOURCE is 0, 1 ... or /dev/video0, Ctrl-C ends it

    The answer has the image's own size, and the overlay a legend below it.
    """
    model, source = _model_and_source(model_and_source)
    frames = open_source(source)
    to_video = isinstance(frames, Video) and Path(out).suffix.lower() in VIDEO_SUFFIXES
    if to_video:
        _check_video(frames, out, output)
    else:
        paths = _picture_paths(frames, out, output)
    segmenter = Segmenter(model, threads=threads, delegate=delegate, reference=reference)

    timings: list[Timings] = []
    answers = _answers(segmenter, frames, timings)
    if to_video:
        _write_video(out, answers, frames, segmenter.info, alpha)
    else:
        with _stoppable(frames):
            for frame, ids in answers:
                _write_pictures(paths(frame.name), frame.image, ids, segmenter.info, alpha)

    if timings:
        click.echo(_summary(timings, threads or default_threads(), out))
    if isinstance(frames, Images):
        _report_the_rest(frames)


def _model_and_source(arguments: tuple[str, ...]) -> tuple[str, str]:
    if len(arguments) > 2:
        raise UsageError(f"one MODEL and one SOURCE, not {len(arguments)} names: quote a pattern")
    if len(arguments) == 2:
        return arguments
    (source,) = arguments
    if Path(source).suffix == ".tflite":
        raise UsageError(f"{source}: a model and nothing to segment: name an image, folder, ...")
    return str(pretrained_model()), source


def _picture_paths(
    frames: Images | Video, out: str, output: str
) -> Callable[[str], dict[str, Path]]:
    """Where the pictures go: from a frame's name to the paths of its "overlay" and "mask".

    Raises:
        UsageError: When `out` is of the wrong kind for these frames, or would overwrite one.
    """
    kinds = ["overlay", "mask"] if output == "both" else [output]
    place = Path(out)
    into_folder = place.is_dir() or out.endswith(("/", os.sep)) or not place.suffix
    if into_folder and place.exists() and not place.is_dir():
        raise UsageError(f"{out}: a file of this name is in the way of the folder")
    if not into_folder:
        _check_picture(frames, place, kinds)
    names = [path.name for path in frames.paths] if isinstance(frames, Images) else []
    stems = Counter(Path(name).stem for name in names)

    def paths(name: str) -> dict[str, Path]:
        if not into_folder:
            return dict(zip(kinds, [place, place.with_name(f"{place.stem}_mask.png")]))
        stem = Path(name).stem
        if stems[stem] > 1:  # a.jpg and a.png become a.jpg.png and a.png.png
            stem = name
        every = {"overlay": place / f"{stem}.png", "mask": place / f"{stem}_mask.png"}
        return {kind: every[kind] for kind in kinds}

    if isinstance(frames, Images):
        taken = {path.resolve() for path in frames.paths}
        for target in (path for name in names for path in paths(name).values()):
            if target.resolve() in taken:
                raise UsageError(f"{target}: this would overwrite an image: choose another OUT")
            taken.add(target.resolve())
    return paths


def _check_picture(frames: Images | Video, place: Path, kinds: list[str]) -> None:
    """Refuses a single file as the place for anything but a single picture."""
    if isinstance(frames, Video):
        known = " ".join(VIDEO_SUFFIXES)
        raise UsageError(f"{place}: a video goes to a video file ({known}) or a folder: {place}/")
    if frames.folder is not None:
        raise UsageError(f"{place}: a folder's pictures go to a folder: {place.with_suffix('')}/")
    if place.suffix.lower() not in IMAGE_SUFFIXES:
        known = " ".join(IMAGE_SUFFIXES)
        raise UsageError(f"{place}: an image goes to an image file ({known}) or a folder: {place}/")
    if kinds == ["mask"] and place.suffix.lower() != ".png":
        raise UsageError(f"{place}: class ids are kept exactly in a .png file only")


def _check_video(frames: Video, out: str, output: str) -> None:
    if output != "overlay":
        raise UsageError(f"{out}: class ids do not survive in a video: give a folder as OUT")
    if Path(out).resolve() == Path(frames.name).resolve():
        raise UsageError(f"{out}: this would overwrite the source")


def _answers(
    segmenter: Segmenter, frames: Images | Video, timings: list[Timings]
) -> Iterator[tuple[Frame, np.ndarray]]:
    """Segments the frames one by one, tells of the progress and keeps the timings."""
    length = frames.length if isinstance(frames, Video) else None
    if isinstance(frames, Video) and frames.live:
        click.echo(f"{frames.name}: recording until Ctrl-C")
    with progress_bar("segmenting", length) if length else contextlib.nullcontext() as update:
        for frame in frames:
            answer = segmenter.segment(frame.image)
            timings.append(answer.timings)
            yield frame, answer.class_ids
            # By now the answer is written.
            if isinstance(frames, Images):
                click.echo(_line(frame, answer, segmenter))
            elif update:
                update(1, f"{answer.timings.total:.1f} ms")


def _line(frame: Frame, answer: Answer, segmenter: Segmenter) -> str:
    """`street.jpg  360x480  12.3 ms  Road 31%, Sky 21%, Tree 10%`"""
    ids = answer.class_ids
    height, width = ids.shape
    top = ", ".join(
        share_text(i, share, segmenter.info.names) for i, share in class_shares(ids)[:3]
    )
    return f"{frame.name}  {height}x{width}  {answer.timings.total:.1f} ms  {top}"


def _write_pictures(paths: dict[str, Path], image, ids, info, alpha: float) -> None:
    if "overlay" in paths:
        picture = overlay_with_legend(image, ids, info.names, info.palette, alpha)
        _save(Image.fromarray(picture), paths["overlay"])
    if "mask" in paths:
        mask = Image.fromarray(ids)
        mask.putpalette(np.array(info.palette, np.uint8).tobytes())
        _save(mask, paths["mask"])


def _save(picture: Image.Image, path: Path) -> None:
    lossy = path.suffix.lower() in (".jpg", ".jpeg", ".webp")
    with replacing(path) as temporary:
        picture.save(temporary, **({"quality": 95} if lossy else {}))


def _write_video(
    out: str, answers: Iterable[tuple[Frame, np.ndarray]], frames: Video, info, alpha: float
) -> None:
    """Writes the overlays as a video file, whole or not at all."""
    cv2 = opencv()
    writer = None
    with replacing(out) as temporary:
        try:
            with _stoppable(frames):
                for frame, ids in answers:
                    picture = overlay_with_legend(
                        frame.image, ids, info.names, info.palette, alpha, VIDEO_LEGEND_ROWS
                    )
                    # Encoders want even sides.
                    picture = picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2]
                    if writer is None:
                        writer = _open_writer(cv2, temporary, out, frames.fps, picture.shape)
                    writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        finally:
            if writer is not None:
                writer.release()
        if writer is None:
            raise UserError(f"{frames.name}: stopped before its first frame")


def _open_writer(cv2, temporary: Path, out: str, fps: float, shape: tuple[int, ...]):
    code = VIDEO_CODECS.get(temporary.suffix.lower(), "mp4v")
    size = (shape[1], shape[0])
    writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter_fourcc(*code), fps, size)
    if not writer.isOpened():
        raise UserError(f"{out}: OpenCV cannot write this kind of video here: try .avi")
    return writer


@contextlib.contextmanager
def _stoppable(frames: Images | Video):
    """Ctrl-C is how a camera ends; anything else it breaks off."""
    try:
        yield
    except KeyboardInterrupt:
        if not (isinstance(frames, Video) and frames.live):
            raise


def _summary(timings: list[Timings], threads: int, out: str) -> str:
    def mean(stage: str) -> float:
        return sum(getattr(timing, stage) for timing in timings) / len(timings)

    plural = "1 thread" if threads == 1 else f"{threads} threads"
    return (
        f"{len(timings)} done: mean {mean('total'):.1f} ms (prepare {mean('prepare'):.1f}, network "
        f"{mean('invoke'):.1f}, finish {mean('finish'):.1f}), {1000 / mean('total'):.1f} a second; "
        f"{runtime_name()}, {plural}; written to {out}"
    )


def _report_the_rest(frames: Images) -> None:
    """Tells of the files in a folder that gave no answer."""
    if frames.skipped:
        click.echo(f"{frames.folder}: {frames.skipped} other files skipped: they are no images")
    if frames.unreadable:
        raise UserError(
            f"{len(frames.unreadable)} of {len(frames.paths)} images could not be read: "
            + "; ".join(frames.unreadable)
        )

"""A run as one HTML page: what it was made of, how it learnt, where it is right and where wrong.

The page stands by itself: style sheet, curves (SVG) and pictures (JPEG) are inside, it has no
script, and its own content security policy forbids it to load anything. The same run and split
give the same page.
"""

from __future__ import annotations

import base64
import bisect
import dataclasses
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from PIL import Image

from keras_bisenet.data.dataset import Dataset
from keras_bisenet.imaging.drawing import overlay
from keras_bisenet.label_map import VOID, LabelMap
from keras_bisenet.training.metrics import Scores, confusion_matrix
from keras_bisenet.training.run import Run
from keras_bisenet.version import __version__

CURVES = (
    ("loss", "training loss"),
    ("val_miou", "val mIoU"),
    ("val_pixel_accuracy", "val pixel accuracy"),
    ("learning_rate", "learning rate"),
)
"""The columns of `metrics.csv` that are drawn, and their titles."""

PICTURE_WIDTH = 480
"""Wider pictures are shrunk to this many pixels."""

ERROR_COLOUR = (235, 40, 60)


# === Scoring, with an eye on single images ===


@dataclass(frozen=True)
class ImageResult:
    """How a model did on one image.

    Args:
        name: The image's file name.
        scores: From this image's pixels alone.
        pictures: JPEG files by what they show: image, truth, prediction and errors.
    """

    name: str
    scores: Scores
    pictures: dict[str, bytes]


@dataclass(frozen=True)
class Examination:
    """How a model did on a split.

    Args:
        split: The split's name.
        num_images: int. How many images it has.
        scores: From all its pixels, in one confusion matrix.
        worst: The images of the lowest mIoU, the lowest first.
        best: The images of the highest mIoU, the highest first. No image is in both.
    """

    split: str
    num_images: int
    scores: Scores
    worst: tuple[ImageResult, ...]
    best: tuple[ImageResult, ...]


def examine(
    segment: Callable[[np.ndarray], np.ndarray],
    dataset: Dataset,
    split: str,
    num_shown: int,
    progress: Callable[..., None] | None = None,
) -> Examination:
    """Scores `segment` on a split, and draws the images that it is best and worst at.

    One pass; of the pictures no more than `2 * num_shown` are in memory at a time. An image of
    nothing but void counts among the best and worst as little as in the scores.

    Args:
        segment: From a uint8 image `[height, width, 3]` to uint8 class ids `[height, width]`.
        dataset: Where the images come from.
        split: The split's name.
        num_shown: How many of the best, and of the worst, to draw.
        progress: Called with 1 after each image.

    Raises:
        UsageError: When the data set has no such split.
    """
    labels = dataset.label_map
    samples = dataset.split(split)
    total = np.zeros((labels.num_classes, labels.num_classes), np.int64)
    extremes = Extremes(num_shown)
    for sample in samples:
        image, truth = dataset.read(sample)
        predicted = segment(image)
        scores = Scores(labels.names, confusion_matrix(truth, predicted, labels.num_classes))
        total += scores.confusion
        if extremes.takes(scores.miou):
            pictures = draw(image, truth, predicted, labels)
            extremes.add(scores.miou, ImageResult(sample.image.name, scores, pictures))
        if progress:
            progress(1)
    return Examination(
        split, len(samples), Scores(labels.names, total), extremes.lowest, extremes.highest
    )


class Extremes:
    """The `count` lowest and the `count` highest of a stream of values, and what goes with them."""

    def __init__(self, count: int):
        self._count = count
        self._values = []  # ascending, at most 2 * count
        self._items = []

    def takes(self, value: float) -> bool:
        """Whether `value` is among the lowest or the highest so far; NaN never is."""
        is_full = len(self._values) == 2 * self._count
        return not (math.isnan(value) or (is_full and self._place(value) == self._count))

    def add(self, value: float, item) -> None:
        """Takes in a value that `takes` accepts; what it pushes into the middle is dropped."""
        place = self._place(value)
        self._values.insert(place, value)
        self._items.insert(place, item)
        if len(self._values) > 2 * self._count:
            del self._values[self._count], self._items[self._count]

    @property
    def lowest(self) -> tuple:
        """The items of the lowest values, ascending; of few values the lower half."""
        return tuple(self._items[: -(-len(self._items) // 2)])

    @property
    def highest(self) -> tuple:
        """The items of the highest values, descending; of few values the upper half."""
        return tuple(reversed(self._items[-(-len(self._items) // 2) :]))

    def _place(self, value: float) -> int:
        return bisect.bisect(self._values, value)


def draw(
    image: np.ndarray, truth: np.ndarray, predicted: np.ndarray, labels: LabelMap
) -> dict[str, bytes]:
    """The four pictures of an image, as JPEG files by what they show."""
    return {
        "image": _jpeg(image),
        "truth": _jpeg(overlay(image, truth, labels.palette, 0.6)),
        "prediction": _jpeg(overlay(image, predicted, labels.palette, 0.6)),
        "errors": _jpeg(error_picture(image, truth, predicted)),
    }


def error_picture(image: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The image in light grey, wrong pixels in red, void dark.

    Args:
        image: uint8 `[height, width, 3]`.
        truth: uint8 class ids `[height, width]`, `VOID` where no pixel counts.
        predicted: uint8 class ids `[height, width]`.

    Returns:
        uint8 `[height, width, 3]`.
    """
    grey = np.asarray(Image.fromarray(image).convert("L").convert("RGB")).astype(np.float32)
    is_void = truth == VOID
    is_wrong = ~is_void & (truth != predicted)
    # Lighter than any void, so that a dark image does not look like it.
    picture = 96 + 0.6 * grey
    picture[is_void] = 0.3 * grey[is_void]
    picture[is_wrong] = 0.3 * grey[is_wrong] + 0.7 * np.array(ERROR_COLOUR)
    return picture.round().astype(np.uint8)


def ranked_classes(scores: Scores) -> list[int]:
    """Ids of the classes that occur, by IoU, the highest first."""
    iou = scores.iou
    return [int(i) for i in np.argsort(-iou, kind="stable") if not np.isnan(iou[i])]


def largest_confusion(scores: Scores) -> tuple[str, str, float] | None:
    """The pair (true class, predicted class) with the most wrong pixels, and its share of all
    pixels; None where every pixel is right."""
    wrong = scores.confusion - np.diag(np.diag(scores.confusion))
    true, predicted = np.unravel_index(wrong.argmax(), wrong.shape)
    if not wrong[true, predicted]:
        return None
    share = wrong[true, predicted] / scores.confusion.sum()
    return scores.names[true], scores.names[predicted], float(share)


# === The page ===


def page(run: Run, found: Examination) -> str:
    """The run's report as an HTML document.

    Args:
        run: A run with at least one row in `metrics.csv`.
        found: How its model did on a split.
    """
    config, quantization, labels = run.config, run.quantization, run.label_map
    rows = run.read_metrics()
    kind = f"int8 for {quantization.target}" if quantization else "float"
    name = escape(run.path.resolve().name)
    facts = (config.model, config.dataset, "{}x{}".format(*config.size), kind)
    sections = [
        f"<header><h1>{name}</h1><p>{escape(' · '.join(facts))}</p></header>",
        headline(found),
        _section("Training", _curves(rows)),
        _section("Classes", class_table(found.scores, labels)),
        _section("Confusion", matrix_table(found.scores, labels)),
        _section("Images", _images(found, labels)),
        '<div class="columns">',
        _section("Configuration", _configurations(Training=config, Quantization=quantization)),
        _section("Label map", label_map_table(labels)),
        "</div>",
        f"<footer>{escape(str(run.path))} · keras-bisenet {__version__}</footer>",
    ]
    return _DOCUMENT.format(title=name, style=_STYLE, body="\n".join(sections))


def headline(found: Examination) -> str:
    """The scores that one looks for first."""
    scores, order = found.scores, ranked_classes(found.scores)
    tiles = [
        ("mIoU", _score(scores.miou), f"{found.split}, {found.num_images} images"),
        ("pixel accuracy", _score(scores.pixel_accuracy), f"{scores.confusion.sum():,} pixels"),
    ]
    for title, ids in (("best class", order[:1]), ("worst class", order[-1:])):
        tiles += [(title, _score(scores.iou[i]), scores.names[i]) for i in ids]
    for title, results in (("best image", found.best), ("worst image", found.worst)):
        tiles += [(title, _score(one.scores.miou), one.name) for one in results[:1]]
    return '<dl class="tiles">{}</dl>'.format(
        "".join(
            f"<div><dt>{escape(title)}</dt><dd><b>{value}</b><small>{escape(about)}</small></dd></div>"
            for title, value, about in tiles
        )
    )


def _curves(rows: Sequence[dict[str, float]]) -> str:
    kept = max(rows, key=lambda row: row["val_miou"])["epoch"]
    figures = []
    for column, title in CURVES:
        points = [(row["epoch"], row[column]) for row in rows if math.isfinite(row[column])]
        if points:
            figures.append(curve(title, points, kept))
    return (
        f"<p>By epoch. The run keeps the model of epoch {kept:g}, which the ring marks.</p>"
        f'<div class="curves">{"".join(figures)}</div>'
        f"<details><summary>The numbers</summary>{metrics_table(rows)}</details>"
    )


LEFT, TOP, RIGHT, BOTTOM = 52, 10, 350, 170
"""Where a curve's axes lie in its 360x200 units."""


def curve(title: str, points: Sequence[tuple[float, float]], kept: float) -> str:
    """A curve over epochs as an HTML figure with an SVG.

    Args:
        title: What the values are.
        points: (epoch, value) in order; at least one, all finite.
        kept: The epoch that a ring marks.
    """
    epochs, values = zip(*points)
    ticks = nice_ticks(min(values), max(values))
    x_range = (epochs[0], epochs[-1]) if len(points) > 1 else (epochs[0] - 1, epochs[0] + 1)

    def x(epoch: float) -> float:
        return LEFT + (epoch - x_range[0]) / (x_range[1] - x_range[0]) * (RIGHT - LEFT)

    def y(value: float) -> float:
        return BOTTOM - (value - ticks[0]) / (ticks[-1] - ticks[0]) * (BOTTOM - TOP)

    parts = []
    for tick in ticks:
        parts.append(f'<path class="grid" d="M{LEFT} {y(tick):.1f}H{RIGHT}"/>')
        parts.append(
            f'<text x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
        )
    for tick in nice_ticks(epochs[0], epochs[-1], 5, smallest_step=1):
        if epochs[0] <= tick <= epochs[-1]:
            parts.append(
                f'<text x="{x(tick):.1f}" y="{BOTTOM + 18}" text-anchor="middle">{tick:g}</text>'
            )
    line = " ".join(f"{x(epoch):.1f},{y(value):.1f}" for epoch, value in points)
    parts.append(f'<polyline class="line" points="{line}"/>')
    # Many dots would hide the line: unseen, they still tell their values to the mouse.
    dot = "dot" if len(points) <= 40 else "spot"
    for epoch, value in sorted(points, key=lambda point: point[0] == kept):  # the ring on top
        kind, radius = ("ring", 5) if epoch == kept else (dot, 2.5)
        parts.append(
            f'<circle class="{kind}" cx="{x(epoch):.1f}" cy="{y(value):.1f}" r="{radius}">'
            f"<title>epoch {epoch:g}: {value:.4g}</title></circle>"
        )
    at_kept = dict(points).get(kept)
    shown = "" if at_kept is None else f" <b>{at_kept:.4g}</b>"
    first, last = (f"{value:.4g} in epoch {epoch:g}" for epoch, value in (points[0], points[-1]))
    return (
        f"<figure><figcaption>{escape(title)}{shown}</figcaption>"
        f'<svg viewBox="0 0 360 200" role="img" aria-label="{escape(title)}: {first}, {last}">'
        f"{''.join(parts)}</svg></figure>"
    )


def nice_ticks(low: float, high: float, count: int = 4, smallest_step: float = 0.0) -> list[float]:
    """Round numbers that span `low` to `high`, at steps of 1, 2 or 5 times a power of ten.

    Args:
        low: The smallest value.
        high: The largest value.
        count: About how many steps there shall be; one more or less may come out.
        smallest_step: Steps are no smaller than this.

    Returns:
        Two or more numbers, ascending, the first at most `low` and the last at least `high`.
    """
    if low == high:
        low, high = (low - 1, high + 1) if smallest_step or not low else sorted((0, 2 * low))
    rough = max((high - low) / count, smallest_step)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    # The tolerance keeps 0.3 / 0.1 from becoming one step more than 3.
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{k * step:.12g}") for k in range(first, last + 1)]


def metrics_table(rows: Sequence[dict[str, float]]) -> str:
    """The rows of `metrics.csv` as a table."""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{value:g}</td>" for value in row.values()) + "</tr>" for row in rows
    )
    table = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return _scrolling("Metrics by epoch", f'<table class="numbers">{table}</table>')


def class_table(scores: Scores, labels: LabelMap) -> str:
    """IoU per class as a table with bars, the best class first, those that never occur last."""
    pixels = scores.confusion.sum(axis=1)
    shares = pixels / max(pixels.sum(), 1)
    order = ranked_classes(scores)
    order += [i for i in range(labels.num_classes) if i not in order]
    rows = []
    for i in order:
        iou = scores.iou[i]
        width = 0 if np.isnan(iou) else 100 * iou
        rows.append(
            f'<tr><th scope="row">{_class(labels, i)}</th><td>{_score(iou)}</td>'
            f'<td class="bar"><span style="width:{width:.1f}%"></span></td>'
            f"<td>{100 * shares[i]:.2f}%</td></tr>"
        )
    return (
        '<table class="classes"><thead><tr><th scope="col">Class</th><th scope="col">IoU</th>'
        '<td></td><th scope="col">Pixels</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
        "<p>Pixels: the share of the split's labelled pixels that are of this class.</p>"
    )


def matrix_table(scores: Scores, labels: LabelMap) -> str:
    """The confusion matrix as a table; each row is where a true class's pixels went, in percent.

    Cells below half a percent are left without a number; so is the row of a class without pixels.
    """
    totals = scores.confusion.sum(axis=1, keepdims=True)
    shares = scores.confusion / np.maximum(totals, 1)
    head = "".join(f'<th scope="col">{_class(labels, i)}</th>' for i in range(labels.num_classes))
    rows = []
    for i in range(labels.num_classes):
        cells = "".join(
            _matrix_cell(shares[i, k], f"{labels.names[i]}, seen as {labels.names[k]}")
            for k in range(labels.num_classes)
        )
        rows.append(f'<tr><th scope="row">{_class(labels, i)}</th>{cells}</tr>')
    return "<p>Where the pixels of each class went, in percent of its pixels.</p>" + _scrolling(
        "Confusion matrix",
        '<table class="matrix"><thead><tr><td>truth ↓ prediction →</td>'
        f"{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>",
    )


def _matrix_cell(share: float, about: str) -> str:
    if share < 0.0005:
        return "<td></td>"
    # Above this share white letters stand out from the cell's colour better than black ones.
    kind = ' class="high"' if share > 0.66 else ""
    number = f"{100 * share:.0f}" if share >= 0.005 else ""
    return f'<td{kind} style="--s:{share:.3f}" title="{escape(about)}: {share:.1%}">{number}</td>'


def _images(found: Examination, labels: LabelMap) -> str:
    classes = "".join(f"<li>{_class(labels, i)}</li>" for i in range(labels.num_classes))
    parts = [
        "<p>The best and the worst by an image's own mIoU: the mean over the classes that occur in "
        f"it or in its prediction. Errors are {_in_colour('red', ERROR_COLOUR)}; pixels without a "
        f'class are dark.</p><ul class="legend">{classes}</ul>'
    ]
    for title, results in (("Worst", found.worst), ("Best", found.best)):
        if results:
            parts.append(f"<h3>{title}</h3>" + "".join(_image(result) for result in results))
    return "".join(parts)


def _image(result: ImageResult) -> str:
    scores, confusion = result.scores, largest_confusion(result.scores)
    accuracy = f"pixel accuracy {_score(scores.pixel_accuracy)}"
    facts = [f"mIoU <b>{_score(scores.miou)}</b>", accuracy]
    if confusion:
        true, predicted, share = confusion
        facts.append(f"{share:.1%} of the pixels: {escape(true)} seen as {escape(predicted)}")
    figures = "".join(
        f'<figure><img src="data:image/jpeg;base64,{base64.b64encode(data).decode()}" '
        f'alt="{escape(result.name)}: {kind}"><figcaption>{kind}</figcaption></figure>'
        for kind, data in result.pictures.items()
    )
    return (
        f"<article><h4>{escape(result.name)}</h4><p>{' · '.join(facts)}</p>"
        f'<div class="pictures">{figures}</div></article>'
    )


def _configurations(**configs) -> str:
    tables = (configuration_table(title, config) for title, config in configs.items() if config)
    return f"<p>What differs from the defaults is bold.</p>{''.join(tables)}"


def configuration_table(title: str, config) -> str:
    """A configuration's options and values, those that differ from the defaults in bold."""
    rows = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        text = escape(_value(field.name, value))
        if value != _default(field):
            text = f"<b>{text}</b>"
        rows.append(f'<tr><th scope="row">{escape(field.name)}</th><td>{text}</td></tr>')
    return f'<table class="options"><caption>{title}</caption>{"".join(rows)}</table>'


def _default(field: dataclasses.Field):
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _value(name: str, value) -> str:
    if name == "size":
        return "{}x{}".format(*value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {_value(key, item)}" for key, item in value.items()) or "none"
    if isinstance(value, tuple):
        return ", ".join(_value("", item) for item in value)
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def label_map_table(labels: LabelMap) -> str:
    """The classes: id, name and colour, and the id that stands for each in mask files."""
    rows = "".join(
        f'<tr><td>{i}</td><th scope="row">{_class(labels, i)}</th>'
        f"<td>#{_hex(labels.palette[i])}</td><td>{labels.file_ids[i]}</td></tr>"
        for i in range(labels.num_classes)
    )
    ignored = ", ".join(str(i) for i in labels.ignored_ids)
    return (
        '<table class="labels"><thead><tr><th scope="col">Id</th><th scope="col">Class</th>'
        '<th scope="col">Colour</th><th scope="col">Id in masks</th></tr></thead>'
        f"<tbody>{rows}</tbody></table><p>Void in masks: {ignored}.</p>"
    )


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>{content}</section>"


def _scrolling(label: str, content: str) -> str:
    """Something that may be larger than the window, for the keyboard to scroll too."""
    return f'<div class="wide" role="region" tabindex="0" aria-label="{label}">{content}</div>'


def _class(labels: LabelMap, class_id: int) -> str:
    return _in_colour(labels.names[class_id], labels.palette[class_id])


def _in_colour(name: str, colour: Sequence[int]) -> str:
    """A name behind a square of its colour."""
    return f'<span class="key" style="--c:#{_hex(colour)}">{escape(name)}</span>'


def _hex(colour: Sequence[int]) -> str:
    return bytes(colour).hex()


def _score(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}"


def _jpeg(picture: np.ndarray) -> bytes:
    shrunk = Image.fromarray(picture)
    shrunk.thumbnail((PICTURE_WIDTH, shrunk.height), Image.LANCZOS)
    content = io.BytesIO()
    shrunk.save(content, "JPEG", quality=85, optimize=True)
    return content.getvalue()


_DOCUMENT = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" \
content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title} - keras-bisenet report</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""

_STYLE = """
:root {
  color-scheme: light dark;
  --page: #fff; --panel: #f4f5f7; --ink: #16181d; --faint: #5b616b; --rule: #d9dce1;
  --accent: #1f66b5; --heat: 8 48 107; --low: #000; --high: #fff;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14161a; --panel: #1e2127; --ink: #e8eaed; --faint: #a3a9b3; --rule: #363b44;
    --accent: #6fb1f5; --heat: 40 105 200; --low: #fff;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 72rem; background: var(--page);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word;
}
h1 { margin: 0; font-size: 1.75rem; line-height: 1.2; }
h2 { margin: 2.5rem 0 .5rem; padding-top: 1rem; border-top: 1px solid var(--rule); }
h3 { margin: 1.5rem 0 .5rem; }
h4 { margin: 0; }
p { margin: .25rem 0 .75rem; color: var(--faint); }
p b { color: var(--ink); }
footer { margin-top: 3rem; color: var(--faint); font-size: .875rem; }
.key { display: inline-block; position: relative; padding-inline-start: 1.2em; }
.key::before {
  content: ""; position: absolute; inset-block-start: .35em; inset-inline-start: 0; width: .8em;
  height: .8em; border-radius: 2px; background: var(--c); box-shadow: 0 0 0 1px var(--rule);
}
.tiles {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .75rem;
  margin: 1rem 0 0;
}
.tiles div { padding: .75rem; border-radius: 8px; background: var(--panel); }
dt, small, figcaption, caption { color: var(--faint); font-size: .875rem; }
dd { margin: 0; }
dd b, dd small { display: block; overflow-wrap: anywhere; }
dd b { font-size: 1.5rem; font-variant-numeric: tabular-nums; line-height: 1.3; }
figure { margin: 0; }
figcaption b { color: var(--ink); }
.curves, .columns {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: 1rem;
}
.curves { max-width: 56rem; }
.columns { column-gap: 3rem; }
.curves figure { padding: .75rem; border-radius: 8px; background: var(--panel); }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--faint); font-size: 11px; }
.grid { stroke: var(--rule); }
.line { fill: none; stroke: var(--accent); stroke-width: 2; stroke-linejoin: round; }
.dot { fill: var(--accent); }
.spot { fill: transparent; }
.ring { fill: var(--panel); stroke: var(--accent); stroke-width: 2.5; }
details { margin-top: 1rem; }
summary { cursor: pointer; color: var(--faint); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 500; }
thead th, thead td { color: var(--faint); font-size: .875rem; vertical-align: bottom; }
caption { text-align: left; padding: .5rem 0 .25rem; }
td, th { padding: .25rem .5rem .25rem 0; }
.wide { overflow: auto; max-height: 90vh; }
.numbers td, .numbers th { padding-right: 1rem; white-space: nowrap; }
.classes { width: 100%; max-width: 48rem; }
.classes td { white-space: nowrap; }
.classes th { padding-right: .75rem; }
.classes td:last-child, .classes th:last-child { padding-right: 0; text-align: right; }
.bar { width: 55%; }
.bar span { display: block; height: .8rem; border-radius: 2px; background: var(--accent); }
.matrix { border-collapse: separate; border-spacing: 1px; font-size: .8125rem; }
.matrix th, .matrix thead td { position: sticky; background: var(--page); }
.matrix tbody th { left: 0; z-index: 1; padding-right: .5rem; white-space: nowrap; }
.matrix thead th { top: 0; z-index: 2; padding: 0 0 .25rem; }
.matrix thead .key {
  display: block; margin: 0 auto; writing-mode: vertical-rl; transform: rotate(180deg);
  white-space: nowrap;
}
.matrix thead td { top: 0; left: 0; z-index: 3; padding-right: .5rem; text-align: right; }
.matrix tbody td {
  min-width: 2.4rem; height: 2.1rem; padding: 0; text-align: center; color: var(--low);
  background: rgb(var(--heat) / var(--s, 0));
}
.matrix tbody td.high { color: var(--high); }
.legend {
  display: flex; flex-wrap: wrap; gap: .25rem 1rem; margin: 0; padding: 0; list-style: none;
  font-size: .875rem;
}
article { margin: 0 0 1.5rem; }
.pictures { display: grid; grid-template-columns: repeat(4, 1fr); gap: .5rem; }
.pictures img { display: block; width: 100%; height: auto; border-radius: 4px; }
.options, .labels { width: 100%; }
.options th { width: 45%; }
.options td { overflow-wrap: anywhere; }
.options td, .options th, .labels td, .labels th { padding-right: 1rem; }
.options tr, .labels tbody tr, .classes tbody tr { border-top: 1px solid var(--rule); }
@media (max-width: 48rem) {
  .pictures { grid-template-columns: repeat(2, 1fr); }
  .bar { width: 30%; }
}
"""

"""What `dataset check` found as one HTML page with pictures.

The page stands by itself: style sheet and pictures (JPEG) are inside, it has no script, and its
own content security policy forbids it to load anything.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from keras_bisenet.data.check.check_result import CheckResult
from keras_bisenet.data.check.issue import Issue
from keras_bisenet.data.check.split_statistics import SplitStatistics
from keras_bisenet.data.dataset import Dataset, Sample
from keras_bisenet.errors import UserError
from keras_bisenet.imaging.drawing import colorize, overlay
from keras_bisenet.imaging.reading import read_image
from keras_bisenet.label_map import LabelMap

PER_SPLIT = 8
"""So many pairs of a split are shown, at even distances."""

PER_FINDING = 6
"""So many pairs of a finding are shown."""

FILES_SHOWN = 20

PICTURE_WIDTH = 320
"""Wider pictures are shrunk to this many pixels."""

UNKNOWN = (255, 0, 200)
"""The colour of ids that no class has."""

Progress = Callable[[int], None]


def page(report: CheckResult, progress: Progress | None = None) -> str:
    """The report as an HTML document.

    Args:
        report: What was found.
        progress: Called with 1 after each picture; `num_pictures` says how many there are.
    """
    step = progress or (lambda count: None)
    labels = report.dataset.label_map
    name = escape(report.dataset.name)
    sections = [
        f"<header><h1>{name}</h1><p>{escape(_verdict(report))}</p></header>",
        _tiles(report),
        _section("Findings", _findings(report, step)),
        _section("Classes", _class_table(report)),
        *(
            _section(f"Pairs of {escape(split)}", _samples(report.dataset, found, step))
            for split, found in report.splits.items()
        ),
        _section("Colours", _legend(labels)),
        _section("Train with", _suggestions(report)),
    ]
    return _DOCUMENT.format(title=name, style=_STYLE, body="\n".join(sections))


def num_pictures(report: CheckResult) -> int:
    """How many pairs of files the page shows."""
    return sum(len(finding.samples[:PER_FINDING]) for finding in report.issues) + sum(
        len(_spread(split.samples)) for split in report.splits.values()
    )


# --- sections ---


def _verdict(report: CheckResult) -> str:
    errors = sum(finding.severity == "error" for finding in report.issues)
    if not report.issues:
        return "Nothing is wrong with this data set."
    return f"Errors: {errors}. Warnings: {len(report.issues) - errors}."


def _tiles(report: CheckResult) -> str:
    tiles = []
    for name, split in report.splits.items():
        bad = len(split.samples) - split.good
        sizes = [f"{height}x{width}" for height, width in sorted(split.sizes)]
        shown = sizes[0] if len(sizes) == 1 else f"{len(sizes)} sizes"
        note = f"{bad} of them cannot be used; {shown}" if bad else shown
        tiles.append(
            f"<div><dt>pairs in {escape(name)}</dt><dd><b>{len(split.samples)}</b>"
            f"<small>{note}</small></dd></div>"
        )
    return f'<dl class="tiles">{"".join(tiles)}</dl>'


def _findings(report: CheckResult, step: Progress) -> str:
    if not report.issues:
        return "<p>None.</p>"
    return "".join(_finding(report.dataset, finding, step) for finding in report.issues)


def _finding(dataset: Dataset, finding: Issue, step: Progress) -> str:
    pictures = _pictures(dataset, finding.samples[:PER_FINDING], step)
    return (
        f'<article class="{finding.severity}"><h3><span>{finding.severity}</span> '
        f"{escape(finding.rule)}</h3><p><b>{escape(finding.message)}</b></p>"
        f"<p>{escape(finding.cure)}</p>{pictures}{_files(finding)}</article>"
    )


def _files(finding: Issue) -> str:
    if not finding.files:
        return ""
    details = finding.details or ("",) * len(finding.files)
    rows = "".join(
        f"<tr><th scope='row'>{escape(str(path))}</th><td>{escape(detail)}</td></tr>"
        for path, detail in zip(finding.files[:FILES_SHOWN], details)
    )
    more = len(finding.files) - FILES_SHOWN
    last = f"<p>and {more} more</p>" if more > 0 else ""
    is_open = " open" if len(finding.files) <= 5 else ""
    return (
        f"<details{is_open}><summary>Files: {len(finding.files)}</summary>"
        f"<table>{rows}</table>{last}</details>"
    )


def _class_table(report: CheckResult) -> str:
    labels = report.dataset.label_map
    shares = [split.shares(labels.num_classes) for split in report.splits.values()]
    largest = max(max(share.max() for share in shares), 1e-9)
    head = "".join(f'<th scope="col" colspan="2">{escape(name)}</th>' for name in report.splits)
    rows = []
    for i in range(labels.num_classes + 1):
        key = _class(labels, i) if i < labels.num_classes else "void"
        cells = "".join(
            f'<td class="bar"><span style="width:{100 * share[i] / largest:.1f}%"></span></td>'
            f"<td>{_share(share[i])}</td>"
            for share in shares
        )
        rows.append(f'<tr><th scope="row">{key}</th>{cells}</tr>')
    return (
        f'<div class="wide"><table class="classes"><thead><tr><th scope="col">Share of the pixels'
        f"</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _samples(dataset: Dataset, split: SplitStatistics, step: Progress) -> str:
    return _pictures(dataset, _spread(split.samples), step)


def _suggestions(report: CheckResult) -> str:
    suggestions = report.suggestions
    options = [f"--size {suggestions.to_json()['size']}"] if suggestions.size else []
    if suggestions.class_weights:
        options.append(f"--class-weights {suggestions.class_weights_option}")
    classes = ""
    if suggestions.classes_differ:
        classes = f"<p>classes.yaml:</p><pre>{escape(suggestions.classes)}</pre>"
    return f"<pre>{escape(chr(10).join(options))}</pre>{classes}"


def _legend(labels: LabelMap) -> str:
    entries = "".join(f"<li>{_class(labels, i)}</li>" for i in range(labels.num_classes))
    entries += f"<li>{_in_colour('void', (0, 0, 0))}</li>"
    entries += f"<li>{_in_colour('ids that no class has', UNKNOWN)}</li>"
    return f'<ul class="legend">{entries}</ul>'


# --- pictures ---


def _spread(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Some samples, from the first to the last."""
    places = np.linspace(0, len(samples) - 1, min(PER_SPLIT, len(samples)))
    return [samples[place] for place in places.round().astype(int)]


def _pictures(dataset: Dataset, samples: Sequence[Sample], step: Progress) -> str:
    figures = []
    for sample in samples:
        picture = draw_pair(dataset, sample)
        step(1)
        if picture is not None:
            source = base64.b64encode(_jpeg(picture)).decode("ascii")
            figures.append(
                f'<figure><img alt="" src="data:image/jpeg;base64,{source}">'
                f"<figcaption>{escape(_short(sample.image))}</figcaption></figure>"
            )
    return f'<div class="pictures">{"".join(figures)}</div>' if figures else ""


def draw_pair(dataset: Dataset, sample: Sample) -> np.ndarray | None:
    """An image, and beside it what its mask says: in colours over the image where the pair can be
    used, else the mask alone, with ids that no class has in a colour of their own.

    Returns:
        RGB `[height, width, 3]`; None if neither file can be read.
    """
    try:
        image, ids, _ = dataset.read_pair(sample)
        palette = dataset.label_map.palette
        image, ids = _shrink(image), _shrink(ids)
        return _beside(image, overlay(image, ids, palette, alpha=0.6))
    except UserError:
        parts = [_read_or_none(sample.image), _bad_mask(dataset, sample)]
    parts = [_shrink(part) for part in parts if part is not None]
    return _beside(*parts) if parts else None


def _bad_mask(dataset: Dataset, sample: Sample) -> np.ndarray | None:
    try:
        raw = dataset.read_raw(sample)
    except UserError:  # colours where ids are expected, or saved as JPEG
        return _read_or_none(sample.mask)
    if raw.ndim == 3:
        return raw
    labels = dataset.label_map
    table = np.full((256, 3), UNKNOWN, np.uint8)
    table[list(labels.ignored_ids)] = 0
    table[list(labels.file_ids)] = colorize(np.arange(labels.num_classes), labels.palette)
    return table[raw]


def _read_or_none(path: Path) -> np.ndarray | None:
    try:
        return read_image(path)
    except UserError:
        return None


def _shrink(picture: np.ndarray) -> np.ndarray:
    """At most `PICTURE_WIDTH` wide, and as tall; of a mask, single pixels are kept as they are."""
    scale = PICTURE_WIDTH / max(picture.shape[:2])
    if scale >= 1:
        return picture
    size = tuple(max(1, round(side * scale)) for side in picture.shape[1::-1])
    how = Image.Resampling.LANCZOS if picture.ndim == 3 else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(picture).resize(size, how))


def _beside(*pictures: np.ndarray) -> np.ndarray:
    height = max(picture.shape[0] for picture in pictures)
    sheet = np.full((height, sum(p.shape[1] + 4 for p in pictures) - 4, 3), 255, np.uint8)
    x = 0
    for picture in pictures:
        sheet[: picture.shape[0], x : x + picture.shape[1]] = picture
        x += picture.shape[1] + 4
    return sheet


def _jpeg(picture: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "JPEG", quality=82, optimize=True)
    return content.getvalue()


# --- text ---


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>{content}</section>"


def _class(labels: LabelMap, class_id: int) -> str:
    return _in_colour(labels.names[class_id], labels.palette[class_id])


def _in_colour(name: str, colour: Sequence[int]) -> str:
    """A name behind a square of its colour."""
    return f'<span class="key" style="--c:#{bytes(colour).hex()}">{escape(name)}</span>'


def _share(share: float) -> str:
    return f"{share:.2%}" if share else "never"


def _short(path: Path) -> str:
    """A file's name and its folder's."""
    return "/".join(path.parts[-2:])


_DOCUMENT = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" \
content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title} - keras-bisenet dataset check</title>
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
  --accent: #1f66b5; --error: #b3261e; --warning: #8a5a00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14161a; --panel: #1e2127; --ink: #e8eaed; --faint: #a3a9b3; --rule: #363b44;
    --accent: #6fb1f5; --error: #f2867e; --warning: #e3b341;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 72rem; background: var(--page);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word;
}
h1 { margin: 0; font-size: 1.75rem; line-height: 1.2; }
h2 { margin: 2.5rem 0 .5rem; padding-top: 1rem; border-top: 1px solid var(--rule); }
h3 { margin: 0; font-size: 1rem; }
h3 span { text-transform: uppercase; font-size: .8125rem; letter-spacing: .05em; }
p { margin: .25rem 0 .75rem; color: var(--faint); }
p b { color: var(--ink); }
article { margin: 1rem 0; padding: .75rem 1rem; border-left: 4px solid; background: var(--panel); }
.error { border-color: var(--error); }
.error h3 span { color: var(--error); }
.warning { border-color: var(--warning); }
.warning h3 span { color: var(--warning); }
.tiles { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1rem 0 0; }
.tiles div { flex: 1 0 9.5rem; padding: .75rem; border-radius: 8px; background: var(--panel); }
dt, small, figcaption { color: var(--faint); font-size: .875rem; }
dd { margin: 0; }
dd b, dd small { display: block; }
dd b { font-size: 1.5rem; font-variant-numeric: tabular-nums; line-height: 1.3; }
figure { margin: 0; }
figcaption { overflow-wrap: anywhere; font-size: .8125rem; }
.pictures { display: flex; flex-wrap: wrap; gap: .75rem; margin: .5rem 0; }
.pictures figure { max-width: min(100%, 22.5rem); }
.pictures img { display: block; max-width: 100%; height: auto; border-radius: 4px; }
.key { display: inline-block; position: relative; padding-inline-start: 1.2em; }
.key::before {
  content: ""; position: absolute; inset-block-start: .35em; inset-inline-start: 0; width: .8em;
  height: .8em; border-radius: 2px; background: var(--c); box-shadow: 0 0 0 1px var(--rule);
}
.legend {
  display: flex; flex-wrap: wrap; gap: .25rem 1rem; margin: 0; padding: 0; list-style: none;
}
summary { cursor: pointer; color: var(--faint); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9375rem; }
th { text-align: left; font-weight: 500; overflow-wrap: anywhere; }
td, th { padding: .25rem .75rem .25rem 0; vertical-align: top; }
thead th { color: var(--faint); font-size: .875rem; }
.wide { overflow-x: auto; }
.classes { width: 100%; }
.classes tbody tr { border-top: 1px solid var(--rule); }
.classes th { white-space: nowrap; }
.classes td { white-space: nowrap; }
.bar { width: 18%; min-width: 4rem; vertical-align: middle; }
.bar span { display: block; height: .8rem; border-radius: 2px; background: var(--accent); }
pre {
  margin: .5rem 0; padding: .75rem 1rem; border-radius: 8px; background: var(--panel);
  white-space: pre-wrap; overflow-wrap: anywhere;
}
"""

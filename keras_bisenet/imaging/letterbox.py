"""Letterbox: how an image of any size meets a network of a fixed size, and the way back.

The rule, the same in evaluation and on the device: the image is scaled to fit with its aspect
ratio kept, placed at the top left, and padded right and below with black. An image that fits
as it is (360x480 in a 384x480 network) is not resampled.

The way back goes from the logits straight to the image's own size in one bilinear
interpolation: what `resize to the network's size, crop, argmax` gives, without the large
tensors in between.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from keras_bisenet.label_map import VOID

BLOCK_VALUES = 1 << 17
"""How many pixels are interpolated at a time: as many as a small device's cache holds."""

PAIR_VALUES = 1 << 18
"""The same, where none but the winners is kept of a pixel."""

MOST_RUNS = 100
"""So many slices of columns are copied in less time than columns are picked one by one."""

LARGEST = 1e30
"""Logits beyond are taken for infinite: their differences may be."""

FAR = 1000
"""How far beyond the others infinite ones are put, in spans of those."""

GRID_VALUES = 1 << 15
"""How many logits of cells are looked at in one go before that."""


@dataclass(frozen=True)
class Fit:
    """Where an image lies in a network's input. All sizes are (height, width) in pixels.

    Attributes:
        image_size: The image's own size.
        network_size: The size of the network's input.
        content_size: The top left part of the network's input that holds the scaled image.
    """

    image_size: tuple[int, int]
    network_size: tuple[int, int]
    content_size: tuple[int, int]

    @classmethod
    def of(cls, image_size: tuple[int, int], network_size: tuple[int, int]) -> Fit:
        """The largest scale that fits `image_size` into `network_size`."""
        scale = min(n / i for n, i in zip(network_size, image_size))
        height, width = (max(1, round(side * scale)) for side in image_size)
        return cls(
            (image_size[0], image_size[1]), (network_size[0], network_size[1]), (height, width)
        )

    def place(self, image: np.ndarray) -> np.ndarray:
        """The network's input, uint8 [H, W, 3], of an image, uint8 [h, w, 3]."""
        if self.content_size != self.image_size:
            # Pillow's filter widens when it shrinks an image, so that nothing aliases.
            rows, cols = self.content_size
            image = np.asarray(
                Image.fromarray(image).resize((cols, rows), Image.Resampling.BILINEAR)
            )
        return self.pad(image)

    def pad(self, content: np.ndarray) -> np.ndarray:
        """The network's input, uint8 [H, W, 3], of an image that was scaled to `content_size`."""
        if self.content_size == self.network_size:
            return np.ascontiguousarray(content)
        rows, cols = self.content_size
        placed = np.empty((*self.network_size, 3), np.uint8)
        placed[:rows, :cols] = content
        placed[rows:] = placed[:rows, cols:] = 0
        return placed


def class_ids_from_logits(logits: np.ndarray, fit: Fit) -> np.ndarray:
    """The most likely class of every pixel of the image.

    Bilinear interpolation (TFLite's `half_pixel_centers`, edges clamped), then argmax. A pixel's
    logits are a weighted mean of four cells', so where one class wins in all four it wins the
    pixel too: only the rest is interpolated, and there only the classes that can win.

    Args:
        logits: [Hs, Ws, N], over the whole network input at some stride. Any numeric type:
            quantized logits need no dequantization, since a positive scale changes neither
            the interpolation's weights nor the order of classes.
        fit: How the image was placed.

    Returns:
        uint8 [h, w] at the image's own size. Of equal classes the lowest id wins. `VOID` where
        a logit of the nearest cell is no number.
    """
    if logits.dtype.kind == "f" and not _are_finite(logits):
        ids = class_ids_from_logits(_finite(logits), fit)
        ids[class_ids_from_map(np.isnan(logits).any(axis=-1), fit) > 0] = VOID
        return ids
    rows, cols = (_pieces(logits.shape[axis], fit, axis) for axis in (0, 1))
    logits = logits[: rows.high[-1] + 1, : cols.high[-1] + 1]  # the rest is padding
    winners = logits.argmax(axis=-1).astype(np.uint8)

    # The image in blocks, each of them between the same four cells.
    nearest = winners.take(rows.low, axis=0).take(cols.low, axis=1)
    high, wide = rows.weight.shape[1], cols.weight.shape[1]
    ids = np.empty((len(rows.low), high, len(cols.low) * wide), np.uint8)
    ids[:] = nearest.repeat(wide, axis=1)[:, None]
    if rows.weight.any() or cols.weight.any():  # else every pixel is one cell
        mixed = _borders(winners).take(rows.low, axis=0).take(cols.low, axis=1)
        blocks = ids.reshape(*ids.shape[:2], -1, wide).transpose(0, 2, 1, 3)
        _interpolate(blocks, np.flatnonzero(mixed), logits, winners, rows, cols)
    ids = ids.reshape(-1, ids.shape[2]).take(rows.place, axis=0)
    if len(cols.runs) > MOST_RUNS:
        return ids.take(cols.place, axis=1)
    of_image = np.empty(fit.image_size, np.uint8)
    for pixels, place in cols.runs:
        of_image[:, pixels] = ids[:, place]
    return of_image


def _are_finite(logits: np.ndarray) -> bool:
    with np.errstate(invalid="ignore"):
        least, most = float(logits.min()), float(logits.max())
    return least > -LARGEST and most < LARGEST  # neither is so of nan


def _finite(logits: np.ndarray) -> np.ndarray:
    """Logits of the same order, with infinite ones far beyond the others, but no further than
    float32 can tell those apart between two cells. What is no number is below all."""
    with np.errstate(over="ignore"):
        logits = logits.astype(np.float32)  # float16 has no room beyond
    known = logits[np.abs(logits) < LARGEST]
    low, high = known.min(initial=0), known.max(initial=0)
    reach = FAR * (high - low + 1)
    return np.clip(np.where(np.isnan(logits), -np.inf, logits), low - reach, high + reach)


def class_ids_from_map(ids: np.ndarray, fit: Fit) -> np.ndarray:
    """The nearest class id for every pixel of the image.

    Args:
        ids: [H, W] class ids over the whole network input, any integer type.
        fit: How the image was placed.

    Returns:
        uint8 [h, w] at the image's own size.
    """
    rows, cols = (
        # A pixel's centre lies in the cell that covers it.
        np.floor(_centres(ids.shape[axis], fit, axis) + 0.5).astype(np.intp)
        for axis in (0, 1)
    )
    return ids[rows[:, None], cols].astype(np.uint8)


def _centres(cells: int, fit: Fit, axis: int) -> np.ndarray:
    """Where the centres of the image's pixels lie along one axis, counted in `cells`.

    `cells` cover the network's whole input; the first one's centre is 0.
    """
    length = fit.image_size[axis]
    scale = fit.content_size[axis] * cells / (fit.network_size[axis] * length)
    return (np.arange(length) + 0.5) * scale - 0.5


def _taps(cells: int, fit: Fit, axis: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The cells on either side of each pixel along one axis, and the second one's weight."""
    at = np.clip(_centres(cells, fit, axis), 0, cells - 1)
    low = at.astype(np.intp)
    return low, np.minimum(low + 1, cells - 1), (at - low).astype(np.float32)


class _Pieces(NamedTuple):
    """One axis of the image in `n` pieces, each between the centres of the same two cells.

    Attributes:
        low: [n] The cell before each piece.
        high: [n] The cell behind it.
        weight: [n, longest] The second cell's weight, for each pixel of a piece.
        place: [length] Where in `weight`, flat, each of the image's pixels is.
        runs: The same as slices, of the image and of `weight`.
    """

    low: np.ndarray
    high: np.ndarray
    weight: np.ndarray
    place: np.ndarray
    runs: tuple[tuple[slice, slice], ...]


@functools.lru_cache(maxsize=8)
def _pieces(cells: int, fit: Fit, axis: int) -> _Pieces:
    low, high, weight = _taps(cells, fit, axis)
    length = len(low)
    begins = np.flatnonzero(np.diff(low, prepend=-1))
    lengths = np.diff(begins, append=length)
    # Those at the edges are longer, as no cell is beyond: they are cut, so that all are alike.
    longest = int(np.quantile(lengths, 0.9))
    begins = np.concatenate([np.arange(b, b + n, longest) for b, n in zip(begins, lengths)])
    ends = np.append(begins[1:], length)
    pixels = np.minimum(begins[:, None] + np.arange(longest), ends[:, None] - 1)
    piece = np.repeat(np.arange(len(begins)), ends - begins)
    place = piece * longest + np.arange(length) - begins[piece]
    return _Pieces(low[begins], high[begins], weight[pixels], place, _runs(place))


def _runs(place: np.ndarray) -> tuple[tuple[slice, slice], ...]:
    """(where, from where) for each stretch of `place` that rises in steps of 1."""
    begins = [0, *(np.flatnonzero(np.diff(place) != 1) + 1).tolist()]
    ends = [*begins[1:], len(place)]
    firsts = place[begins].tolist()
    return tuple(
        (slice(begin, end), slice(first, first + end - begin))
        for begin, end, first in zip(begins, ends, firsts)
    )


def _borders(winners: np.ndarray) -> np.ndarray:
    """Whether a cell, the one below, the one to its right and the one across from it differ."""
    differ = np.zeros(winners.shape, bool)
    differ[:, :-1] = winners[:, :-1] != winners[:, 1:]
    differ[:-1] |= (winners[:-1] != winners[1:]) | differ[1:]
    return differ


def _interpolate(
    blocks: np.ndarray,
    mixed: np.ndarray,
    logits: np.ndarray,
    winners: np.ndarray,
    rows: _Pieces,
    cols: _Pieces,
) -> None:
    """Writes the winners into the blocks `mixed`, flat indices, whose cells' winners differ."""
    count = logits.shape[-1]
    values = logits.reshape(-1, count).T.astype(np.float32, order="C")
    # More than rounding can make of values of this size, and far less than a step of 8 bits.
    margin = np.float32(1e-5) * np.abs(values).max()
    at_once = max(1, GRID_VALUES // count)
    for start in range(0, len(mixed), at_once):
        some = mixed[start : start + at_once]
        row, col = np.divmod(some, len(cols.low))
        cells = [
            y.take(row) * logits.shape[1] + x.take(col)
            for y in (rows.low, rows.high)
            for x in (cols.low, cols.high)
        ]
        corners = np.stack([values.take(cell, axis=1) for cell in cells])
        can_win = _candidates(corners, [winners.take(cell) for cell in cells], margin)
        # Those with most candidates first: who has another one is then always a slice.
        order = np.argsort(-np.count_nonzero(can_win, axis=0), kind="stable")
        which, classes = np.nonzero(can_win.T[order])
        in_corners = classes * len(order) + order.take(which)
        candidates = _Candidates(
            corners.reshape(4, -1).take(in_corners, axis=1),
            classes.astype(np.uint8),
            np.bincount(which),
        )
        down = rows.weight.take(row[order], axis=0)
        across = cols.weight.take(col[order], axis=0)
        blocks[row[order], col[order]] = _winners_between(candidates, down, across, margin)


def _candidates(corners: np.ndarray, winners: list[np.ndarray], margin: np.float32) -> np.ndarray:
    """Which classes can win somewhere between four cells: [N, n], from [4, N, n].

    One that lies below another one in all four cells does so everywhere between them, and so does
    one that lies below a mean of others: below one of those it is then, wherever that may be.
    """
    count = corners.shape[2]
    each, flat = np.arange(count), corners.reshape(4, -1)
    rivals = [flat.take(winner.astype(np.intp) * count + each, axis=1) for winner in winners]
    rivals.append(sum(rivals) / np.float32(4))
    cannot = np.zeros(corners.shape[1:], bool)
    for rival in rivals:
        cannot |= (corners < (rival - margin)[:, None]).all(axis=0)
    return ~cannot


class _Candidates(NamedTuple):
    """Which classes can win in `n` blocks between four cells, `m` of them in all.

    Attributes:
        corners: [4, m] Their values in the four cells, one block's after the other.
        classes: [m] Which classes they are; they rise within a block.
        counts: [n] How many a block has, two at least, those with most first.
    """

    corners: np.ndarray
    classes: np.ndarray
    counts: np.ndarray


def _winners_between(
    candidates: _Candidates, down: np.ndarray, across: np.ndarray, margin: np.float32
) -> np.ndarray:
    """The winners of blocks between four cells: what bilinear interpolation, then argmax, gives.

    Args:
        candidates: Who can win there.
        down: [n, h] The lower cells' weights.
        across: [n, w] The right cells' weights.
        margin: More than two values' difference errs by rounding.

    Returns:
        uint8 [n, h, w]. Of equal classes the lowest wins.
    """
    corners, classes, counts = candidates
    height, width = down.shape[1], across.shape[1]
    ids = np.empty((len(counts), height, width), np.uint8)
    first = np.cumsum(counts) - counts
    is_left = counts > 2
    at_once = max(1, PAIR_VALUES // (height * width))
    for start in range(np.count_nonzero(is_left), len(counts), at_once):
        band = slice(start, start + at_once)
        one, other = first[band], first[band] + 1
        ids[band], is_sure = _winners_of_two(
            (corners.take(one, axis=1), corners.take(other, axis=1)),
            (classes.take(one), classes.take(other)),
            np.ascontiguousarray(down[band].T),
            np.ascontiguousarray(across[band].T),
            margin,
        )
        is_left[band] = ~is_sure
    left = np.flatnonzero(is_left)
    if len(left):
        ids[left] = _winners_of_many(candidates, left, down.take(left, 0), across.take(left, 0))
    return ids


def _winners_of_two(
    corners: tuple[np.ndarray, np.ndarray],
    classes: tuple[np.ndarray, np.ndarray],
    down: np.ndarray,
    across: np.ndarray,
    margin: np.float32,
) -> tuple[np.ndarray, np.ndarray]:
    """The winners of blocks with two candidates, without a value for every pixel.

    Along a row of pixels the second one's lead is a straight line. So the one wins up to some
    place and the other one behind it, which a comparison tells, but for pixels so near to the
    place that it is the values' rounding that decides.

    Args:
        corners: [4, n] Each one's values in the four cells.
        classes: [n] Each one's class.
        down: [h, n] The lower cells' weights.
        across: [w, n] The right cells' weights.
        margin: More than two values' difference errs by rounding.

    Returns:
        uint8 [n, h, w], and for each block, [n], whether there are no such pixels in it.
    """
    top_left, top_right, bottom_left, bottom_right = corners[1] - corners[0]
    lead = _lerp(top_left, bottom_left, down)
    slope = _lerp(top_right, bottom_right, down) - lead
    falls = slope < 0  # then it is the first one that wins behind the place
    lead = np.where(falls, -lead, lead)
    slope = np.abs(slope)
    with np.errstate(divide="ignore", invalid="ignore"):  # a lead that is the same all along
        from_there, up_to = (margin - lead) / slope, (-margin - lead) / slope
    is_behind = across > from_there[:, None]
    is_sure = (is_behind | (across < up_to[:, None])).all(axis=(0, 1))
    before = np.where(falls, *classes[::-1])
    ids = is_behind.view(np.uint8)
    ids *= (np.where(falls, *classes) - before)[:, None]  # modulo 256, as the sum is
    ids += before[:, None]
    return ids.transpose(2, 0, 1), is_sure


def _winners_of_many(
    candidates: _Candidates, which: np.ndarray, down: np.ndarray, across: np.ndarray
) -> np.ndarray:
    """The winners of the blocks `which`, uint8 [n, h, w], by the value of every pixel."""
    corners, classes, counts = candidates
    first = (np.cumsum(counts) - counts)[which]
    counts = counts[which]
    count, height, width = len(counts), down.shape[1], across.shape[1]
    top_left, top_right, bottom_left, bottom_right = corners
    ids = np.empty((count, height, width), np.uint8)
    at_once = min(count, max(1, BLOCK_VALUES // (height * width)))
    # Made once: fresh memory costs more than what is computed in it.
    best, value = np.empty((2, at_once, height, width), np.float32)
    is_higher = np.empty(best.shape, bool)

    def interpolate(pairs: np.ndarray, y: np.ndarray, x: np.ndarray, out: np.ndarray) -> None:
        left = _lerp(top_left.take(pairs)[:, None], bottom_left.take(pairs)[:, None], y)
        slope = _lerp(top_right.take(pairs)[:, None], bottom_right.take(pairs)[:, None], y)
        slope -= left
        np.multiply(slope[:, :, None], x[:, None, :], out=out)
        out += left[:, :, None]

    for start in range(0, count, at_once):
        band = slice(start, start + at_once)
        of_band, pairs, y, x = counts[band], first[band], down[band], across[band]
        winner = ids[band]
        interpolate(pairs, y, x, best[: len(pairs)])
        winner[:] = classes.take(pairs)[:, None, None]
        for rank in range(1, of_band[0]):
            n = np.count_nonzero(of_band > rank)
            pairs = first[start : start + n] + rank
            interpolate(pairs, y[:n], x[:n], value[:n])
            np.greater(value[:n], best[:n], out=is_higher[:n])
            np.maximum(value[:n], best[:n], out=best[:n])
            # A later class is a higher number, so the largest of the winners so far is the last.
            new = is_higher[:n].view(np.uint8)
            new *= classes.take(pairs)[:, None, None]
            np.maximum(new, winner[:n], out=winner[:n])
    return ids


def _lerp(low: np.ndarray, high: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """`low + (high - low) * weight`, all of them float32."""
    value = (high - low) * weight
    value += low
    return value

"""Letterbox: how an image of any size meets a network of a fixed size, and the way back.

The rule, the same in evaluation and on the device: the image is scaled to fit with its aspect
ratio kept, placed at the top left, and padded right and below with black. An image that fits
as it is (360x480 in a 384x480 network) is not resampled.

The way back goes from the logits straight to the image's own size in one bilinear
interpolation: what `resize to the network's size, crop, argmax` gives, without the large
tensors in between.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

BAND_ROWS = 16
"""How many of the image's rows are interpolated at a time."""


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
        if self.content_size == self.network_size:
            return np.ascontiguousarray(image)
        placed = np.zeros((*self.network_size, 3), np.uint8)
        placed[: self.content_size[0], : self.content_size[1]] = image
        return placed


def class_ids_from_logits(logits: np.ndarray, fit: Fit) -> np.ndarray:
    """The most likely class of every pixel of the image.

    Bilinear interpolation (TFLite's `half_pixel_centers`, edges clamped), then argmax. A pixel's
    logits are a weighted mean of four cells', so where one class wins in all four it wins the
    pixel: only the pixels on the borders between classes are interpolated.

    Args:
        logits: [Hs, Ws, N], over the whole network input at some stride. Any numeric type:
            quantized logits need no dequantization, since a positive scale changes neither
            the interpolation's weights nor the order of classes.
        fit: How the image was placed.

    Returns:
        uint8 [h, w] at the image's own size. Of equal classes the lowest id wins.
    """
    height, width = fit.image_size
    top, bottom, down = _taps(logits.shape[0], fit, axis=0)
    left, right, across = _taps(logits.shape[1], fit, axis=1)
    logits = logits[: bottom[-1] + 1, : right[-1] + 1]  # the rest is padding
    cells_wide = logits.shape[1]

    winners = logits.argmax(axis=-1).astype(np.uint8)
    ids = winners.take(left, axis=1).take(top, axis=0)
    if not down.any() and not across.any():  # every pixel is one cell
        return ids
    mixed = np.flatnonzero(_borders(winners).take(left, axis=1).take(top, axis=0))

    # In bands of rows, small enough for the cache of a small device.
    for start in range(0, height, BAND_ROWS):
        band = slice(start, start + BAND_ROWS)
        first, last = np.searchsorted(mixed, (start * width, (start + BAND_ROWS) * width))
        pixels = mixed[first:last]
        rows, cols = np.divmod(pixels - start * width, width)
        lines = _lerp(logits[top[band]], logits[bottom[band]], down[band, None, None])
        lines = lines.reshape(-1, lines.shape[-1])
        values = _lerp(
            lines.take(rows * cells_wide + left[cols], axis=0),
            lines.take(rows * cells_wide + right[cols], axis=0),
            across[cols, None],
        )
        ids.reshape(-1)[pixels] = values.argmax(axis=-1)
    return ids


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


def _borders(winners: np.ndarray) -> np.ndarray:
    """Whether a cell, the one below, the one to its right and the one across from it differ."""
    differ = np.zeros(winners.shape, bool)
    differ[:, :-1] = winners[:, :-1] != winners[:, 1:]
    differ[:-1] |= (winners[:-1] != winners[1:]) | differ[1:]
    return differ


def _lerp(low: np.ndarray, high: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """`low + (high - low) * weight` in float32."""
    low = low.astype(np.float32)
    value = high.astype(np.float32)
    value -= low
    value *= weight
    value += low
    return value

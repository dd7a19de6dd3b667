"""Overlays drawn in YUV 4:2:0, as videos are coded: half as many values as RGB has, and no way
there and back for a frame that was decoded from a video."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_bisenet.imaging.drawing import LegendEntry, Palette, VideoOverlay
from keras_bisenet.runtime.sources.av import Decoded, pyav, scaler
from keras_bisenet.runtime.sources.base import Frame

SMPTE170M = 6
"""FFmpeg's number for the colours that RGB becomes by default, those of BT.601."""

LIMITED, FULL = 1, 2
"""FFmpeg's numbers for luma from 16 to 235, and from 0 to 255."""

STEPS = (1, 2, 2)
"""How many of the picture's pixels a value of Y, U and V stands for, along each axis."""

MOST_ENTRIES = 128
"""Of a legend, that are kept as they were converted: the same shares come again and again."""


class YuvOverlay:
    """`VideoOverlay` for a video that is coded as yuv420p: the same picture, up to rounding.

    Args:
        size: (height, width) of the frames, both of them even.
        names: Every class's name.
        palette: Every class's colour.
        alpha: How strongly the overlay covers the image.

    Attributes:
        shape: (height, width) of the pictures, with their legend.
    """

    def __init__(
        self, size: tuple[int, int], names: Sequence[str], palette: Palette, alpha: float = 0.5
    ):
        self._size, self._palette = size, palette
        self._overlay = VideoOverlay(size, names, palette, alpha)
        self.shape = self._overlay.canvas.shape[:2]
        self._kept = round((1 - alpha) * 256)  # of a pixel, in 256ths
        self._colours: int | None = None
        self._of_pictures, self._of_entries = _Converter(), _Converter()
        # Fresh memory costs more than what is computed in it.
        self._masks = [np.empty((size[0] // s, size[1] // s), np.uint8) for s in STEPS]
        self._work = [np.empty(mask.shape, np.uint16) for mask in self._masks]

    @staticmethod
    def fits(size: tuple[int, int]) -> bool:
        """Whether frames of that size can be drawn: a value of U and V is of 2x2 pixels."""
        return size[0] % 2 == size[1] % 2 == 0

    def draw(self, frame: Frame, ids: np.ndarray) -> Any:
        """The picture with its legend, as an `av.VideoFrame`."""
        picture = _decoded_yuv(frame) or self._of_pictures.yuv(frame.image, SMPTE170M)
        colours_changed = picture.colorspace != self._colours
        if colours_changed:
            self._set_colours(picture.colorspace)
        ids = np.ascontiguousarray(ids)
        # `ids[::2, ::2]`, several times as fast. Its shares will do for the legend.
        coarse = ids[::2].view("<u2").astype(np.uint8)
        changes = self._overlay.draw_legend(coarse, frame.time)
        if colours_changed:
            # All of it, in which the changes are.
            legend = _Converter().yuv(self._overlay.canvas[self._size[0] :], picture.colorspace)
            self._legend = [plane.copy() for plane in _planes(legend)]
            self._entries: dict[tuple, list[np.ndarray]] = {}
        else:
            self._change_legend(changes, picture.colorspace)
        drawn = pyav().VideoFrame(self.shape[1], self.shape[0], "yuv420p")
        take_colours(drawn, picture)
        for source, out, legend, table, of_plane, mask, work in zip(
            *(_planes(picture), _planes(drawn), self._legend, self._tables),
            *((ids, coarse, coarse), self._masks, self._work),
        ):
            height, width = mask.shape
            table.look_up(of_plane, mask)
            self._keep(source[:height, :width], work, out[:height, :width])
            out[:height, :width] += mask
            out[height:] = legend
            out[:height, width:] = legend[0, 0]  # where the legend is wider: its background
        return drawn

    def _change_legend(self, changes: list[LegendEntry], colours: int) -> None:
        for entry in changes:
            shown = (entry.class_id, entry.text)
            if shown not in self._entries:
                if len(self._entries) >= MOST_ENTRIES:
                    self._entries.clear()
                self._entries[shown] = _planes(self._of_entries.yuv(entry.picture, colours))
            for legend, plane, step in zip(self._legend, self._entries[shown], STEPS):
                row, column = (entry.row - self._size[0]) // step, entry.column // step
                legend[row : row + plane.shape[0], column : column + plane.shape[1]] = plane

    def _keep(self, source: np.ndarray, work: np.ndarray, out: np.ndarray) -> None:
        """Writes what is kept of a plane, rounded."""
        if self._kept == 128:  # a quarter of the work
            np.right_shift(source, 1, out=out)
            return
        np.multiply(source, self._kept, out=work, dtype=np.uint16)
        work += 128
        work >>= 8
        out[:] = work

    def _set_colours(self, colours: int) -> None:
        """What each class adds to a pixel's Y, U and V."""
        table = np.zeros((1, 256, 3), np.uint8)
        table[0, : len(self._palette)] = self._palette
        planes = _planes(_Converter().yuv(table, colours, "yuv444p"))
        share = 1 - self._kept / 256
        # Halves up, as halves of what is kept go down.
        self._tables = [_Table(np.floor(share * plane[0, :256] + 0.5)) for plane in planes]
        self._colours = colours


class _Table:
    """A value for each class. Two pixels are looked up at a time, in half the time."""

    def __init__(self, values: np.ndarray):
        self._values = values.astype(np.uint8)
        of_pair = np.arange(1 << 16, dtype=np.uint16).view(np.uint8).reshape(-1, 2)
        self._pairs = self._values[of_pair].reshape(-1).view(np.uint16)

    def look_up(self, ids: np.ndarray, out: np.ndarray) -> None:
        """Writes the values of class ids; both arrays are uint8, contiguous, of one size."""
        flat, values, even = ids.reshape(-1), out.reshape(-1), ids.size & ~1
        # Clipping changes nothing here, but without it everything is checked and copied first.
        self._pairs.take(
            flat[:even].view(np.uint16), out=values[:even].view(np.uint16), mode="clip"
        )
        values[even:] = self._values[flat[even:]]


def take_colours(drawn: Any, picture: Any) -> None:
    """Says of a frame, or of an encoder, that its colours mean what those of `picture` do."""
    for name in ("colorspace", "color_range", "color_primaries", "color_trc"):
        value = getattr(picture, name, None)
        if value is not None and hasattr(drawn, name):
            setattr(drawn, name, int(value))


def _decoded_yuv(frame: Frame) -> Any:
    """The frame as it was decoded, where that is yuv420p."""
    decoded = frame.picture
    if not isinstance(decoded, Decoded) or decoded.turn:
        return None
    if decoded.frame.format.name != "yuv420p" or int(decoded.frame.color_range) == FULL:
        return None
    return decoded.frame


class _Converter:
    """RGB images, best all of one size, as `av.VideoFrame`s, by FFmpeg's swscale."""

    def __init__(self) -> None:
        self._scaled = scaler()

    def yuv(self, image: np.ndarray, colours: int, pixel_format: str = "yuv420p") -> Any:
        rgb = pyav().VideoFrame.from_ndarray(image, format="rgb24")
        rgb.colorspace = colours
        yuv = self._scaled(rgb, format=pixel_format)
        yuv.colorspace, yuv.color_range = colours, LIMITED
        return yuv


def _planes(picture: Any) -> list[np.ndarray]:
    """Y, U and V of a frame, to read or to write: uint8 [height, at least width]."""
    return [
        np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
        for plane in picture.planes
    ]

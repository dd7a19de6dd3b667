"""Pictures of an answer: overlays, legends and side-by-side sheets.

Images and colours are RGB, uint8; class ids are uint8 with `VOID`, the ignore index, for pixels
without a class.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from keras_bisenet.imaging.fonts import font_of_size, lettering
from keras_bisenet.label_map import VOID

Palette = Sequence[Sequence[int]]

BACKGROUND = (250, 250, 250)
INK = (32, 33, 36)
FAINT = (208, 210, 214)


def colorize(ids: np.ndarray, palette: Palette) -> np.ndarray:
    """The mask in its classes' colours; void is black. [h, w] -> RGB [h, w, 3]."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = palette
    return table[ids]


def overlay(image: np.ndarray, ids: np.ndarray, palette: Palette, alpha: float = 0.5) -> np.ndarray:
    """The mask's colours over the image; `alpha` 0 shows the image alone, 1 the mask alone."""
    return np.asarray(_blend(image, ids, palette, alpha))


def _blend(image: np.ndarray, ids: np.ndarray, palette: Palette, alpha: float) -> Image.Image:
    # Pillow's palette does what `colorize` does, several times as fast.
    mask = Image.fromarray(ids)
    mask.putpalette(flat_palette(palette))
    return Image.blend(Image.fromarray(image), mask.convert("RGB"), alpha)


def flat_palette(palette: Palette) -> bytes:
    """The colours of all 256 ids, as `Image.putpalette` takes them; void is black.

    With fewer, Pillow packs a PNG's ids into 4 bits or less, and void becomes a class.
    """
    return _flat_palette(tuple(map(tuple, palette)))


@functools.lru_cache(maxsize=8)
def _flat_palette(palette: tuple[tuple[int, ...], ...]) -> bytes:
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = palette
    return table.tobytes()


def class_shares(ids: np.ndarray) -> list[tuple[int, float]]:
    """(class id, share of the pixels) of what a mask holds, the largest share first."""
    counts = np.array(Image.fromarray(ids).histogram())
    order = np.argsort(-counts, kind="stable")
    return [(int(i), float(counts[i] / ids.size)) for i in order if counts[i]]


def share_text(class_id: int, share: float | None, names: Sequence[str]) -> str:
    """A class's entry in a legend: `Road 21%`, or its name alone where the share is None."""
    name = "void" if class_id == VOID else names[class_id]
    name = name if len(name) <= 28 else name[:27] + "…"
    if share is None:
        return name
    percent = 100 * share
    return f"{name} {percent:.0f}%" if percent >= 1 else f"{name} {percent:.1f}%"


def legend(
    shares: Sequence[tuple[int, float | None]],
    names: Sequence[str],
    palette: Palette,
    width: int,
    rows: int | None = None,
    text_size: int | None = None,
) -> np.ndarray:
    """A strip that says which colour is which class.

    Args:
        shares: (class id, share of the pixels) in the order to show, as `class_shares` gives
            them. Where the share is None, the name stands alone.
        names: Every class's name.
        palette: Every class's colour.
        width: The picture's width in pixels that the strip goes with. A strip too narrow for
            its longest entry is made wider.
        rows: For the frames of a video, a size that depends on the classes' names alone: room
            for every class, in this many rows at most. What does not fit is left out. None: as
            many rows as `shares` takes.
        text_size: The letters' size in pixels. None: one that suits the width.

    Returns:
        RGB [height, at least `width`, 3].
    """
    size = text_size or int(np.clip(width / 42, 12, 40))
    names, font = lettering(names, size)
    entries = [(i, share_text(i, share, names)) for i, share in shares]
    texts = [text for _, text in entries]
    if rows is not None:
        with_share = any(share is not None for _, share in shares)
        texts = [share_text(i, 1.0 if with_share else None, names) for i in range(len(names))]
    text_start = round(size * 1.5)
    column = text_start + max(text_width(font, text) for text in texts) + size
    columns = max(1, (width - size) // column)
    if rows is None:
        rows = -(-len(entries) // columns)
        columns = -(-len(entries) // rows)  # as even as the rows allow
        column = max(column, (width - size) // columns)
    else:
        rows = min(rows, -(-len(names) // columns))
    line = round(size * 1.6)

    strip = Image.new("RGB", (max(width, size + columns * column), rows * line + size), BACKGROUND)
    draw = ImageDraw.Draw(strip)
    for k, (i, text) in enumerate(entries[: rows * columns]):
        x = size + k % columns * column
        middle = size // 2 + k // columns * line + line // 2
        _swatch(draw, (x, middle - size // 2, x + size, middle - size // 2 + size), i, palette)
        draw.text((x + text_start, middle), text, INK, font, anchor="lm")
    return np.asarray(strip)


def overlay_with_legend(
    image: np.ndarray,
    ids: np.ndarray,
    names: Sequence[str],
    palette: Palette,
    alpha: float = 0.5,
    legend_rows: int | None = None,
) -> np.ndarray:
    """The overlay at the image's own size, and below it the legend of the classes in it."""
    picture = overlay(image, ids, palette, alpha)
    strip = legend(class_shares(ids), names, palette, picture.shape[1], legend_rows)
    return _stack([picture, strip])


LEGEND_SECONDS = 0.2
"""How long a video's legend stays as it is."""


class LegendEntry(NamedTuple):
    """A class at its place in a video's legend.

    Attributes:
        row: Where its picture begins in the frame.
        column: The same.
        class_id: None where nothing was at the place so far.
        text: What it says; empty, nothing.
        picture: RGB. Its sides are even, and so are its row, where the frame's height is, and
            its column.
    """

    row: int
    column: int
    class_id: int | None
    text: str
    picture: np.ndarray


class VideoOverlay:
    """Overlays with a legend at video speed: of one size, every class at a place of its own.

    A class takes a free place in the legend when it is first seen, and keeps it; when all are
    taken, it takes that of the class that has not been seen for longest. So nothing jumps but the
    shares.

    Args:
        size: (height, width) of the frames.
        names: Every class's name.
        palette: Every class's colour.
        alpha: How strongly the overlay covers the image.
        rows: The legend's height, at most.

    Attributes:
        size: (height, width) of the frames.
        canvas: RGB, the picture with the legend below it. Both sides are even.
    """

    def __init__(
        self,
        size: tuple[int, int],
        names: Sequence[str],
        palette: Palette,
        alpha: float = 0.5,
        rows: int = 4,
    ):
        self.size = size
        height, width = size
        self._text_size = int(np.clip(width / 42, 12, 40))
        names, font = lettering(names, self._text_size)
        self._names, self._font, self._palette, self._alpha = names, font, palette, alpha
        texts = [share_text(i, 1.0, names) for i in range(len(names))]
        # All even, as the pictures' sides are: two pixels share a colour in coded videos.
        margin, line = _even(self._text_size), _even(self._text_size * 1.6)
        longest = max(text_width(font, text) for text in texts)
        self._cell = (line, _even(self._text_size * 1.5 + longest + margin))
        columns = max(1, (width - margin) // self._cell[1])
        rows = min(rows, -(-len(names) // columns))
        self._places = [
            (height + _even(margin / 2) + k // columns * line, margin + k % columns * self._cell[1])
            for k in range(rows * columns)
        ]
        self._shown: list[str | None] = [None] * len(self._places)
        self._class_at: list[int | None] = [None] * len(self._places)
        self._seen_at = [-1] * len(self._places)
        self._number, self._drawn_at = 0, -np.inf
        # Encoders want even sides.
        shape = (height + rows * line + margin, max(width, margin + columns * self._cell[1]))
        self.canvas = np.empty((*(side + side % 2 for side in shape), 3), np.uint8)
        self.canvas[:] = BACKGROUND
        self._draw_entry = functools.lru_cache(maxsize=128)(self._entry)

    def draw(self, image: np.ndarray, ids: np.ndarray, time: float | None = None) -> np.ndarray:
        """The picture, RGB, until the next call: the array is used again.

        Args:
            image: The frame, RGB uint8 [height, width, 3].
            ids: Its class ids, uint8 [height, width].
            time: When it is shown, in seconds. With it the legend's shares change a few times a
                second, and not with every frame: then they can be read.
        """
        height, width = ids.shape
        self.canvas[:height, :width] = overlay(image, ids, self._palette, self._alpha)
        self.draw_legend(np.ascontiguousarray(ids[::2, ::2]), time)
        return self.canvas

    def draw_legend(self, ids: np.ndarray, time: float | None = None) -> list[LegendEntry]:
        """Brings the canvas' legend up to date, where it is time, and tells what is new in it.

        Every second row and column of the class ids will do: it is shares that are shown.
        """
        if time is not None:
            if 0 <= time - self._drawn_at < LEGEND_SECONDS:
                return []
            self._drawn_at = time
        changes, shares = [], dict(class_shares(ids))
        self._number += 1
        self._take_places(shares)
        for place, class_id in enumerate(self._class_at):
            text = ""
            if class_id in shares:
                text = share_text(class_id, shares[class_id], self._names)
            if text != self._shown[place]:
                self._shown[place] = text
                row, column = self._places[place]
                picture = self._draw_entry(class_id, text)
                self.canvas[row : row + self._cell[0], column : column + self._cell[1]] = picture
                changes.append(LegendEntry(row, column, class_id, text, picture))
        return changes

    def _take_places(self, shares: dict[int, float]) -> None:
        for class_id in shares:
            if class_id in self._class_at:
                self._seen_at[self._class_at.index(class_id)] = self._number
        for class_id in shares:
            if class_id not in self._class_at:
                place = int(np.argmin(self._seen_at))
                if self._seen_at[place] == self._number:
                    return  # every place is taken by a class that is in the picture
                self._class_at[place], self._seen_at[place] = class_id, self._number

    def _entry(self, class_id: int | None, text: str) -> np.ndarray:
        entry = Image.new("RGB", self._cell[::-1], BACKGROUND)
        if class_id is not None and text:
            size, middle = self._text_size, self._cell[0] // 2
            draw = ImageDraw.Draw(entry)
            top = middle - size // 2
            _swatch(draw, (0, top, size, top + size), class_id, self._palette)
            at = (round(size * 1.5), middle)
            draw.text(at, text, INK, self._font, anchor="lm")
        return np.asarray(entry)


def contact_sheet(
    rows: Sequence[Sequence[np.ndarray]],
    titles: Sequence[str],
    names: Sequence[str] = (),
    palette: Palette = (),
    cell_width: int = 480,
) -> np.ndarray:
    """Pictures side by side: one row per sample, one titled column per kind of picture.

    Args:
        rows: Per row, one RGB picture per title.
        titles: What each column shows; all empty, no row of titles.
        names: Class names for a legend below the sheet; none, no legend.
        palette: The classes' colours for that legend.
        cell_width: Wider pictures are shrunk to this width.

    Returns:
        The sheet, RGB.
    """
    gap = 8
    cells = [[_shrink(picture, cell_width) for picture in row] for row in rows]
    columns = [max(row[k].shape[1] for row in cells) for k in range(len(titles))]
    heights = [max(picture.shape[0] for picture in row) for row in cells]
    font = font_of_size(int(np.clip(min(columns) / 16, 11, 22)))
    title_height = round(font.size * 1.6) if any(titles) else 0
    width = gap + sum(column + gap for column in columns)
    height = gap + title_height + sum(height + gap for height in heights)

    sheet = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    x = gap
    for k, title in enumerate(titles):
        draw.text((x, gap + title_height // 2), title, INK, font, anchor="lm")
        y = gap + title_height
        for row, row_height in zip(cells, heights):
            sheet.paste(Image.fromarray(row[k]), (x, y))
            y += row_height + gap
        x += columns[k] + gap
    if not names:
        return np.asarray(sheet)
    every = [(i, None) for i in range(len(names))]
    return _stack(
        [np.asarray(sheet), legend(every, names, palette, width, text_size=round(font.size))]
    )


def _swatch(draw: ImageDraw.ImageDraw, box: tuple, class_id: int, palette: Palette) -> None:
    """A class's coloured square; void's is black with a white stroke through it."""
    if class_id == VOID:
        draw.rectangle(box, (0, 0, 0))
        draw.line((box[0], box[3], box[2], box[1]), (255, 255, 255), 2)
    else:
        draw.rectangle(box, tuple(int(v) for v in palette[class_id]), outline=FAINT)


def _stack(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures one below the other, left aligned."""
    width = max(picture.shape[1] for picture in pictures)
    stacked = np.empty((sum(picture.shape[0] for picture in pictures), width, 3), np.uint8)
    stacked[:] = BACKGROUND
    y = 0
    for picture in pictures:
        stacked[y : y + picture.shape[0], : picture.shape[1]] = picture
        y += picture.shape[0]
    return stacked


def _shrink(picture: np.ndarray, width: int) -> np.ndarray:
    if picture.shape[1] <= width:
        return picture
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))


def _even(length: float) -> int:
    return 2 * round(length / 2)


def text_width(font, text: str) -> int:
    return int(np.ceil(font.getlength(text)))

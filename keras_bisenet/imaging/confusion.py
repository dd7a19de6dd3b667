"""The confusion matrix as a picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from keras_bisenet.imaging.drawing import BACKGROUND, FAINT, INK, text_width
from keras_bisenet.imaging.fonts import font_of_size, lettering

# A sequential colour map: 0, and the colours that the rest is spread over.
HEAT = ((250, 250, 250), (198, 219, 239), (107, 174, 214), (33, 113, 181), (8, 48, 107))


def confusion_matrix_picture(matrix: np.ndarray, names: Sequence[str]) -> Image.Image:
    """The confusion matrix as a heat map: each row is where a true class's pixels went.

    Args:
        matrix: int64 [N, N] pixel counts; rows are the truth, columns the prediction.
        names: Every class's name.

    Returns:
        The picture, with percentages in the cells where there is room for them. The row of a
        class without pixels is left grey.
    """
    totals = matrix.sum(axis=1, keepdims=True)
    shares = matrix / np.maximum(totals, 1)
    cell = int(np.clip(1200 // len(names), 16, 56))
    names, font = lettering(names, int(np.clip(cell / 3, 12, 15)))
    numbers = font_of_size(int(np.clip(cell / 3.2, 11, 15)))
    title = font_of_size(17)
    margin = 14
    label = max(text_width(font, name) for name in names) + 12
    left = margin + round(title.size * 1.8) + label
    top = margin + round(title.size * 1.8) + label
    side = cell * len(names)

    picture = Image.new("RGB", (left + side + margin, top + side + margin), BACKGROUND)
    draw = ImageDraw.Draw(picture)
    draw.text((left + side // 2, margin), "Prediction", INK, title, anchor="mt")
    _vertical_text(picture, "Truth", title, (margin, top + side // 2), anchor="lm")
    colours = _heat(shares)
    for row, name in enumerate(names):
        y = top + row * cell
        draw.text((left - 8, y + cell // 2), name, INK, font, anchor="rm")
        _vertical_text(picture, name, font, (left + row * cell + cell // 2, top - 8), anchor="mb")
        for column in range(len(names)):
            x = left + column * cell
            fill = tuple(colours[row, column]) if totals[row] else FAINT
            draw.rectangle((x, y, x + cell - 2, y + cell - 2), fill)
            share = shares[row, column]
            if cell >= 30 and share >= 0.005:
                ink = BACKGROUND if share > 0.55 else INK
                middle = (x + cell // 2 - 1, y + cell // 2 - 1)
                draw.text(middle, f"{100 * share:.0f}", ink, numbers, anchor="mm")
    return picture


def _heat(shares: np.ndarray) -> np.ndarray:
    """Shares from 0 to 1 as colours, uint8 [..., 3]."""
    stops = np.linspace(0, 1, len(HEAT))
    channels = [np.interp(shares, stops, values) for values in zip(*HEAT)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def _vertical_text(picture: Image.Image, text: str, font, at: tuple[int, int], anchor: str):
    """Draws `text` turned to read upwards; `anchor` is (l or m) x (m or b) of the turned text."""
    left, top, right, bottom = font.getbbox(text, anchor="lt")
    turned = Image.new("L", (right + 1, font.size + 4))
    ImageDraw.Draw(turned).text((0, turned.height // 2), text, 255, font, anchor="lm")
    turned = turned.transpose(Image.Transpose.ROTATE_90)
    x = at[0] - (turned.width // 2 if anchor[0] == "m" else 0)
    y = at[1] - (turned.height // 2 if anchor[1] == "m" else turned.height)
    picture.paste(INK, (x, y), turned)

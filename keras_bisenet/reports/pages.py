"""HTML pages by Jinja2 templates: what comes from files is escaped, and all is inside the page.

A page has its style sheet and pictures within it and no script, and its own content security
policy forbids it to load anything. The same values give the same page.
"""

from __future__ import annotations

import base64
import functools
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from keras_bisenet.errors import UserError, how_to_install
from keras_bisenet.label_map import LabelMap

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **values) -> str:
    """A page from a template, with the style sheet in it.

    Raises:
        UserError: When Jinja2 is not installed.
    """
    environment = _environment()
    from markupsafe import Markup  # comes with Jinja2

    style = Markup((TEMPLATES / "style.css").read_text(encoding="utf-8"))
    return environment.get_template(template).render(style=style, **values)


def part(template: str, name: str, **values) -> str:
    """A part of a page, by the macro of that name; what templates take for safe markup."""
    return getattr(_environment().get_template(template).module, name)(**values)


@functools.cache
def _environment():
    try:
        import jinja2
    except ModuleNotFoundError as error:
        raise UserError(
            f"an HTML page needs jinja2, which is not installed: {how_to_install('train')}"
        ) from error
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def class_key(labels: LabelMap, class_id: int) -> dict[str, str]:
    """A class's name, and its colour for a style sheet."""
    return {"name": labels.names[class_id], "colour": hex_colour(labels.palette[class_id])}


def class_keys(labels: LabelMap) -> list[dict[str, str]]:
    return [class_key(labels, class_id) for class_id in range(labels.num_classes)]


def hex_colour(colour: Sequence[int]) -> str:
    return bytes(colour).hex()


def jpeg(picture: np.ndarray, quality: int = 85) -> bytes:
    """A picture, uint8 `[h, w, 3]`, as a JPEG file."""
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "JPEG", quality=quality, optimize=True)
    return content.getvalue()


def base64_text(content: bytes) -> str:
    """A file's content as a data URL has it."""
    return base64.b64encode(content).decode("ascii")

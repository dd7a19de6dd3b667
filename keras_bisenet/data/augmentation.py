"""How far random views of an image may go.

`tensorflow_views` and `jax_views` make them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Augmentation:
    """How far a random view may go; the defaults are the paper's (Section 5.1) plus jitter.

    Args:
        scale: Smallest and largest magnification.
        flip: Whether half of the views are mirrored left to right.
        jitter: Brightness, contrast and saturation each change by up to this share.
        tint: Red, green and blue each change by up to this share, as another white balance would.
        stretch: Height and width are magnified apart by up to this share: 0.2 makes things up to
            1.2 times as wide for their height, or as narrow.
        cutmix: Share of the views of which a rectangle shows another sample (`mixed_views`).
    """

    scale: tuple[float, float] = (0.75, 2.0)
    flip: bool = True
    jitter: float = 0.4
    tint: float = 0.0
    stretch: float = 0.0
    cutmix: float = 0.0

    @classmethod
    def of(cls, config) -> Augmentation:
        """The part of a training configuration that says how views are made."""
        return cls(**{field.name: getattr(config, field.name) for field in fields(cls)})


SOFT_STRIDE = 4
"""A cell of a view's soft labels stands for so many of its pixels, in height and in width."""

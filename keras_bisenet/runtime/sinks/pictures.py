"""Picture files: overlays with a legend, masks as palette PNGs of class ids, or both."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from PIL import Image

from keras_bisenet.errors import UsageError
from keras_bisenet.files import replacing
from keras_bisenet.imaging.drawing import flat_palette, overlay_with_legend
from keras_bisenet.imaging.reading import IMAGE_SUFFIXES
from keras_bisenet.runtime.segmenter import Answer
from keras_bisenet.runtime.sinks.base import Style
from keras_bisenet.runtime.sources.base import Frame, Source

VIDEO_LEGEND_ROWS = 3
"""The legend's height below the frames of a video, at most; all of them are of one size."""


def open_sink(out: str, source: Source, style: Style) -> Pictures:
    """A file for a single image, a folder for anything."""
    if style.segment:
        raise UsageError(f"{out}: --segment is for video files")
    place = Path(out)
    into_folder = place.is_dir() or out.endswith(("/", os.sep)) or not place.suffix
    if into_folder and place.exists() and not place.is_dir():
        raise UsageError(f"{out}: a file of this name is in the way of the folder")
    pictures = Pictures(place, into_folder, source, style)
    if not into_folder:
        _check_picture(place, source, pictures.kinds)
    if source.kind != "video":
        pictures.check_targets()
    return pictures


class Pictures:
    """Writes picture files, each of them whole or not at all."""

    def __init__(self, place: Path, into_folder: bool, source: Source, style: Style):
        self.kinds = ["overlay", "mask"] if style.output == "both" else [style.output]
        self.places = [place]
        self._place, self._into_folder, self._style = place, into_folder, style
        self._rows = VIDEO_LEGEND_ROWS if source.kind == "video" else None
        self._files = source.files
        self._stems = Counter(path.stem for path in source.files)

    def write(self, frame: Frame, answer: Answer) -> None:
        paths, style, ids = self._paths(frame.name), self._style, answer.class_ids
        if "overlay" in paths:
            picture = overlay_with_legend(
                frame.image, ids, style.names, style.palette, style.alpha, self._rows
            )
            _save(Image.fromarray(picture), paths["overlay"])
        if "mask" in paths:
            mask = Image.fromarray(ids)
            mask.putpalette(flat_palette(style.palette))
            _save(mask, paths["mask"])

    def close(self) -> None:
        pass

    def check_targets(self) -> None:
        """Refuses to overwrite an image that is to be read, or a picture just written."""
        images = {path.resolve() for path in self._files}
        written: dict[Path, str] = {}
        for file in self._files:
            for target in self._paths(file.name).values():
                place = target.resolve()
                if place in images:
                    raise UsageError(f"{target}: this would overwrite an image: choose another OUT")
                if place in written:
                    raise UsageError(
                        f"{target}: this would overwrite a picture of {written[place]} by one of "
                        f"{file.name}: rename one of these, or write overlays and masks apart"
                    )
                written[place] = file.name

    def _paths(self, name: str) -> dict[str, Path]:
        """Where the "overlay" and the "mask" of a frame of this name go."""
        place = self._place
        if not self._into_folder:
            return dict(zip(self.kinds, [place, place.with_name(f"{place.stem}_mask.png")]))
        stem = Path(name).stem
        if self._stems[stem] > 1:  # a.jpg and a.png become a.jpg.png and a.png.png
            stem = name
        every = {"overlay": place / f"{stem}.png", "mask": place / f"{stem}_mask.png"}
        return {kind: every[kind] for kind in self.kinds}


def _check_picture(place: Path, source: Source, kinds: list[str]) -> None:
    """Refuses a single file as the place for anything but a single picture."""
    if source.kind == "video":
        from keras_bisenet.runtime.sinks.video import CODECS

        raise UsageError(
            f"{place}: a video goes to a video file ({' '.join(CODECS)}) or a folder: {place}/"
        )
    if source.kind == "folder":
        raise UsageError(f"{place}: a folder's pictures go to a folder: {place.with_suffix('')}/")
    if place.suffix.lower() not in IMAGE_SUFFIXES:
        known = " ".join(IMAGE_SUFFIXES)
        raise UsageError(f"{place}: an image goes to an image file ({known}) or a folder: {place}/")
    if kinds == ["mask"] and place.suffix.lower() != ".png":
        raise UsageError(f"{place}: class ids are kept exactly in a .png file only")


def _save(picture: Image.Image, path: Path) -> None:
    with replacing(path) as temporary:
        if path.suffix.lower() in (".jpg", ".jpeg", ".webp"):
            picture.save(temporary, quality=95)
        else:
            picture.save(temporary)

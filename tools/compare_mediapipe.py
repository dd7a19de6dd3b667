"""What MediaPipe's image segmenter makes of a file, beside what `keras-bisenet run` makes of it.

    pip install mediapipe
    python tools/compare_mediapipe.py MODEL.tflite IMAGE...

MediaPipe takes float32 and uint8 input, and knows classes and normalization from the file's
standard metadata. It stretches an image to the network's input, where this project letterboxes
it: images whose proportions are the network's are compared best. Prints the share of the pixels
whose class is the same, image by image and in all.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import click
import numpy as np

from keras_bisenet.errors import UserError
from keras_bisenet.imaging.reading import read_image
from keras_bisenet.runtime.segmenter import Segmenter


@click.command(help=__doc__)
@click.argument("model", type=click.Path(exists=True, dir_okay=False))
@click.argument("images", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
def main(model, images):
    try:
        same = [compare(model, image) for image in images]
    except UserError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{100 * np.mean(same):.1f}% of the pixels in all")


def compare(model: str, path: str) -> float:
    """The share of an image's pixels that both give the same class, 0 to 1."""
    image = read_image(path)
    ours = Segmenter(model).segment(image).class_ids
    theirs, labels = mediapipe_answer(model, image)
    share = float((ours == theirs).mean())
    click.echo(f"{Path(path).name}: {100 * share:.1f}% of the pixels; {len(labels)} labels")
    return share


def mediapipe_answer(model: str, image: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """MediaPipe's class ids, uint8 [h, w], and the names that it read from the file."""
    try:
        import mediapipe as mp
    except ImportError as error:
        raise UserError("this needs MediaPipe: pip install mediapipe") from error
    vision = mp.tasks.vision
    options = vision.ImageSegmenterOptions(
        base_options=mp.tasks.BaseOptions(model_asset_path=model),
        output_category_mask=True,
        output_confidence_masks=False,
    )
    try:
        with vision.ImageSegmenter.create_from_options(options) as segmenter:
            result = segmenter.segment(mp.Image(image_format=mp.ImageFormat.SRGB, data=image))
            return np.squeeze(result.category_mask.numpy_view()).copy(), list(segmenter.labels)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{model}: MediaPipe refuses it: {error}") from error


if __name__ == "__main__":
    main()

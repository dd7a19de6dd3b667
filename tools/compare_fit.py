"""What a model answers when a video's frames are fitted into it by FFmpeg, and when by Pillow.

    python tools/compare_fit.py keras_bisenet/pretrained/camvid-small_int8.tflite --data-dir CamVid

Each image becomes a frame of a video (yuv420p). `image` is the answer to the image itself, `pillow`
to the frame's RGB as every image is fitted, `ffmpeg` to the frame as `run` fits it.
"""

from __future__ import annotations

import click
import numpy as np

from keras_bisenet.data import load_dataset
from keras_bisenet.imaging.letterbox import Fit
from keras_bisenet.runtime.segmenter import Segmenter
from keras_bisenet.runtime.sources.av import Converter, Decoded, pyav
from keras_bisenet.training.metrics import Scores, confusion_matrix

WAYS = ("image", "pillow", "ffmpeg")


@click.command()
@click.argument("model", type=click.Path(exists=True))
@click.option("--dataset", default="camvid", show_default=True)
@click.option("--data-dir", required=True, type=click.Path(exists=True))
@click.option("--split", default="val", show_default=True)
def main(model: str, dataset: str, data_dir: str, split: str) -> None:
    """Score MODEL, a .tflite file, three ways."""
    segmenter, data = Segmenter(model), load_dataset(dataset, data_dir)
    num_classes = data.label_map.num_classes
    samples, converter = data.split(split), Converter()
    matrices = {way: np.zeros((num_classes, num_classes), np.int64) for way in WAYS}
    changed = dict.fromkeys(WAYS, 0.0)
    for sample in samples:
        image, class_ids = data.read(sample)
        frame = Decoded(as_video(image), 0, converter)
        fit = Fit.of(frame.size, segmenter.info.size)
        inputs = (fit.place(image), fit.place(frame.image()), frame.placed(fit))
        answers = {
            way: segmenter.finish(segmenter.invoke(segmenter.encode(placed)), fit)
            for way, placed in zip(WAYS, inputs)
        }
        for way, answer in answers.items():
            matrices[way] += confusion_matrix(class_ids, answer, num_classes)
            changed[way] += float((answer != answers["pillow"]).mean()) / len(samples)
    click.echo(f"{len(samples)} images\n")
    click.echo("| | mIoU | pixel accuracy | other than `pillow` |\n|---|---|---|---|")
    for way, matrix in matrices.items():
        scores = Scores(data.label_map.names, matrix)
        click.echo(
            f"| {way} | {scores.miou:.4f} | {scores.pixel_accuracy:.4f} | {changed[way]:.2%} |"
        )


def as_video(image: np.ndarray):
    """An image as an `av.VideoFrame` with a video's colours."""
    rgb = pyav().VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    return rgb.reformat(format="yuv420p")


if __name__ == "__main__":
    main()

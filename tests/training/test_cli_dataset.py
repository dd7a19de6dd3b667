"""`keras-bisenet dataset`: generating a data set, checking it, and showing it as training does."""

import base64
import dataclasses
import io
import json
import re

import numpy as np
import pytest
from click.testing import CliRunner
from dataset_layouts import write_mask
from PIL import Image

from keras_bisenet.cli import main
from keras_bisenet.data import load_dataset
from keras_bisenet.data.dataset import Sample
from keras_bisenet.reports.data_page import draw_pair

ARGUMENTS = ("--train", "3", "--val", "2", "--test", "1", "--size", "48x64")


@pytest.fixture
def streets(tmp_path):
    result = CliRunner().invoke(
        main, ["dataset", "generate", "--out", str(tmp_path / "streets"), *ARGUMENTS]
    )
    assert result.exit_code == 0, result.output
    assert result.output.startswith("6 streets: ")
    return tmp_path / "streets"


def run(verb, directory, *options):
    arguments = ["dataset", verb, "--dataset", "streets", "--data-dir", directory, *options]
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def check(directory, *options):
    return run("check", directory, *options)


@pytest.fixture
def damaged(streets):
    """A truncated image, a mask with an unknown id, and an image without a mask."""
    image = streets / "train" / "street_00000.png"
    image.write_bytes(image.read_bytes()[:500])
    mask = streets / "valannot" / "street_00001.png"
    ids = np.array(Image.open(mask))
    ids[:8, :8] = 77
    Image.fromarray(ids).save(mask)
    (streets / "trainannot" / "street_00002.png").unlink()
    return streets


# === check ===


def test_a_sound_data_set_has_no_findings(streets, tmp_path):
    result = check(streets, "--json", tmp_path / "report.json")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].split() == ["share", "of", "pixels", "train", "val", "test"]
    assert "train: 3 good pairs, 48x64 (3)" in lines
    assert "suggested: --size 64x64" in lines
    assert lines[-1] == "no errors, no warnings"

    report = json.loads((tmp_path / "report.json").read_text())
    assert list(report) == ["dataset", "passed", "splits", "ids", "findings", "suggestions"]
    assert report["dataset"] == "streets" and report["passed"] is True
    assert report["findings"] == []
    assert {name: split["pairs"] for name, split in report["splits"].items()} == {
        "train": 3,
        "val": 2,
        "test": 1,
    }
    train = report["splits"]["train"]
    assert train["good"] == 3 and train["sizes"] == {"48x64": 3}
    masks = [np.asarray(Image.open(p)) for p in sorted((streets / "trainannot").iterdir())]
    assert train["shares"]["Road"] == pytest.approx(np.mean([(m == 3).mean() for m in masks]))
    assert sum(train["shares"].values()) == pytest.approx(1)
    assert train["images"]["Bicyclist"] == sum((mask == 10).any() for mask in masks)
    assert report["ids"]["declared"]["Bicyclist"] == 10 and report["ids"]["void"] == [11, 255]
    assert sum(report["ids"]["found"].values()) == 6 * 48 * 64
    assert report["suggestions"]["size"] == "64x64"
    assert len(report["suggestions"]["class_weights"].split(",")) == 11


def test_every_finding_names_files_and_the_cure(damaged, tmp_path):
    result = check(damaged, "--json", tmp_path / "report.json")
    assert result.exit_code == 1
    lines = result.output.splitlines()
    found = [line for line in lines if line.startswith("error: ")]
    assert [line.split(": ")[1] for line in found] == [
        "missing-mask",
        "unreadable-image",
        "unknown-ids",
    ]
    place = lines.index(found[2])
    assert lines[place : place + 3] == [
        "error: unknown-ids: masks with ids that no class has: 1",
        f"    {damaged / 'valannot' / 'street_00001.png'}: unknown ids 77 (2.08% of the pixels)",
        "  cure: relabel them, or set them to void",
    ]
    assert "train: 1 good pairs, 1 bad, 48x64 (1)" in lines
    assert lines[-1] == f"Error: {damaged}: errors in 3 files, listed above"
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["passed"] is False
    assert report["findings"][1] == {
        "rule": "unreadable-image",
        "severity": "error",
        "message": report["findings"][1]["message"],
        "files": [str(damaged / "train" / "street_00000.png")],
        "details": [],
        "classes": [],
        "count": 1,
        "cure": "copy it again",
    }
    assert report["findings"][2]["details"] == ["unknown ids 77 (2.08% of the pixels)"]
    assert report["ids"]["found"]["77"] == 64


def test_the_page_shows_findings_and_samples(damaged, tmp_path):
    check(damaged, "--page", tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    for part in ("unreadable-image", "unknown-ids", "street_00001.png", "--size 64x64"):
        assert part in text
    assert "<script" not in text and "http://" not in text
    pictures = re.findall(r"data:image/jpeg;base64,([^\"]+)", text)
    # Of the pairs that findings name two, of train two, of val two and of test one.
    assert len(pictures) == 7
    # A pair: the image, 4 white columns, and its mask.
    shown = np.array(Image.open(io.BytesIO(base64.b64decode(pictures[1]))))
    assert shown.shape == (48, 64 + 4 + 64, 3)
    np.testing.assert_allclose(shown[:6, 68:74].mean((0, 1)), (255, 0, 200), atol=12)
    sound = np.array(Image.open(io.BytesIO(base64.b64decode(pictures[-1]))))
    image = np.array(Image.open(damaged / "test" / "street_00000.png"))
    assert np.abs(sound[:, :64].astype(int) - image).mean() < 8


def test_the_page_shows_deep_images_as_they_are_learnt(streets, tmp_path):
    """Those of bad pairs too: a dark image among bright ones stays dark."""
    dataset = dataclasses.replace(load_dataset("streets", streets), image_range=4095.0)
    deep = tmp_path / "deep.png"
    Image.fromarray(np.full((48, 64), 200, np.uint16)).save(deep)
    write_mask(tmp_path / "mask.png", (0, 77), (48, 64))
    shown = draw_pair(dataset, Sample(deep, tmp_path / "mask.png"))
    assert (shown[:, :64] == 12).all() and (shown[24:, 68:] == (255, 0, 200)).all()


def test_a_page_may_go_into_a_folder(streets, tmp_path):
    assert check(streets, "--page", tmp_path / "report").exit_code == 0
    assert "Nothing is wrong" in (tmp_path / "report" / "index.html").read_text()


def test_suggested_classes_are_written(streets, tmp_path):
    assert check(streets, "--suggest", tmp_path / "classes.yaml", "--workers", 1).exit_code == 0
    lines = (tmp_path / "classes.yaml").read_text().splitlines()
    assert lines[:2] == ["classes:", '  - {name: "Sky", id: 0, color: [128, 180, 220]}']
    assert lines[-1] == "ignore: [11]"


def test_no_data_at_the_path(tmp_path):
    result = check(tmp_path / "nothing")
    assert result.exit_code == 1
    assert "no such folder: " in result.output and "--data-dir" in result.output


def test_an_unknown_data_set_is_refused_with_those_there_are(tmp_path):
    result = CliRunner().invoke(
        main, ["dataset", "check", "--dataset", "cityscape", "--data-dir", str(tmp_path)]
    )
    assert result.exit_code == 2
    assert "camvid" in result.output and "Traceback" not in result.output


# === show ===


@pytest.fixture
def tensorflow():
    return pytest.importorskip("tensorflow", reason="show augments: it needs the training half")


def test_views_are_drawn_as_training_sees_them(tensorflow, streets, tmp_path):
    import itertools

    from keras_bisenet.data import load_dataset
    from keras_bisenet.data.augmentation import Augmentation
    from keras_bisenet.data.pipeline import TrainingPipeline

    config = tmp_path / "options.yaml"
    config.write_text("scale: [1.0, 1.0]\njitter: 0.2\nepochs: 7\n")
    arguments = ("--count", 2, "--size", "32x32", "--seed", 4, "--config", config)
    result = run("show", streets, "-o", tmp_path / "views.png", *arguments)
    assert result.exit_code == 0, result.output
    assert result.output == f"2 views of train, 32x32: {tmp_path / 'views.png'}\n"

    dataset = load_dataset("streets", streets)
    pipeline = TrainingPipeline(
        dataset, dataset.split("train"), (32, 32), 1, 4, Augmentation((1.0, 1.0), True, 0.2)
    )
    batches = list(itertools.islice(pipeline.batches().as_numpy_iterator(), 2))
    sheet = np.array(Image.open(tmp_path / "views.png"))
    for images, masks in batches:
        drawn = np.round(255 * images[0]).astype(np.uint8)
        places = [
            (y, x)
            for y in range(sheet.shape[0] - 31)
            for x in (8,)
            if (sheet[y : y + 32, x : x + 32] == drawn).all()
        ]
        ((y, x),) = places
        colours = np.zeros((256, 3), np.uint8)
        colours[:11] = dataset.label_map.palette
        # Each column is 8 pixels from the next: the image, the mask over it, the mask.
        np.testing.assert_array_equal(sheet[y : y + 32, 88:120], colours[masks[0]])


def test_views_may_go_into_a_folder(tensorflow, streets, tmp_path):
    result = run(
        "show", streets, "-o", tmp_path / "views", "--split", "val", "--count", 3, "--size", "32x32"
    )
    assert result.exit_code == 0, result.output
    assert [p.name for p in sorted((tmp_path / "views").iterdir())] == [
        "view_000.png",
        "view_001.png",
        "view_002.png",
    ]


def test_show_refuses_what_it_cannot_write_or_find(tensorflow, streets, tmp_path):
    result = run("show", streets, "-o", tmp_path / "views.gif", "--size", "32x32", "--count", 1)
    assert result.exit_code == 2 and ".png, or a folder" in result.output
    result = run("show", streets, "-o", tmp_path / "views.png", "--split", "dev")
    assert result.exit_code == 2 and "train, val, test" in result.output
    result = run("show", streets, "-o", tmp_path / "views.png", "--size", "30x30")
    assert result.exit_code == 2 and "32" in result.output
    image = streets / "train" / "street_00001.png"
    image.write_bytes(image.read_bytes()[:300])
    result = run("show", streets, "-o", tmp_path / "views.png", "--count", 3, "--size", "32x32")
    assert result.exit_code == 1 and "damaged" in result.output
    assert not (tmp_path / "views.png").exists()

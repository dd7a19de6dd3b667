"""`keras-bisenet dataset`: generating a data set, and checking one."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from keras_bisenet.cli import main

ARGUMENTS = ("--train", "3", "--val", "2", "--test", "1", "--size", "48x64")


@pytest.fixture
def streets(tmp_path):
    result = CliRunner().invoke(
        main, ["dataset", "generate", "--out", str(tmp_path / "streets"), *ARGUMENTS]
    )
    assert result.exit_code == 0, result.output
    assert result.output.startswith("6 streets: ")
    return tmp_path / "streets"


def check(directory, *options):
    arguments = ["dataset", "check", "--dataset", "streets", "--data-dir", str(directory)]
    return CliRunner().invoke(main, [*arguments, *options])


def test_a_sound_data_set_has_no_findings(streets, tmp_path):
    result = check(streets, "--json", str(tmp_path / "report.json"))
    assert result.exit_code == 0, result.output
    assert "train: 3 good pairs, 48x64 (3)" in result.output
    report = json.loads((tmp_path / "report.json").read_text())
    assert {split: found["pairs"] for split, found in report.items()} == {
        "train": 3,
        "val": 2,
        "test": 1,
    }
    masks = [np.asarray(Image.open(p)) for p in sorted((streets / "trainannot").iterdir())]
    road = np.mean([(mask == 3).mean() for mask in masks])
    assert report["train"]["shares"]["Road"] == pytest.approx(road)
    assert sum(report["train"]["shares"].values()) == pytest.approx(1)


def test_every_bad_pair_is_named_with_its_cure(streets):
    image = streets / "train" / "street_00000.png"
    image.write_bytes(image.read_bytes()[:500])
    mask = streets / "valannot" / "street_00001.png"
    ids = np.array(Image.open(mask))
    ids[0, 0] = 77
    Image.fromarray(ids).save(mask)
    result = check(streets)
    assert result.exit_code == 1
    errors = [line for line in result.output.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2
    assert str(image) in errors[0] and "damaged" in errors[0]
    assert str(mask) in errors[1] and "ids 77" in errors[1]
    assert result.output.splitlines()[-1].endswith("2 bad pairs, listed above")


def test_no_data_at_the_path(tmp_path):
    result = check(tmp_path / "nothing")
    assert result.exit_code == 1
    assert "no streets data here" in result.output and "--data-dir" in result.output


def test_an_unknown_data_set_is_refused_with_those_there_are(tmp_path):
    result = CliRunner().invoke(
        main, ["dataset", "check", "--dataset", "cityscape", "--data-dir", str(tmp_path)]
    )
    assert result.exit_code == 2
    assert "camvid" in result.output and "Traceback" not in result.output

"""The models that come with the package."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from keras_bisenet.cli import main
from keras_bisenet.data.camvid import CAMVID
from keras_bisenet.lite.record import read_record
from keras_bisenet.pretrained import PRETRAINED, pretrained_model
from keras_bisenet.runtime.golden import golden_path
from keras_bisenet.runtime.segmenter import Segmenter
from keras_bisenet.targets.check import check


@pytest.fixture(scope="module")
def segmenter():
    return Segmenter(pretrained_model())


def test_its_metadata_says_what_it_is(segmenter):
    record = read_record(pretrained_model())
    assert (record.dataset, record.precision, record.target) == ("camvid", "int8", "cpu")
    assert record.label_map.names == CAMVID.names
    assert segmenter.info.size == (480, 640)
    # Val was trained on, and the file says so.
    assert record.split == "val (trained on)" and record.miou > 0.5


@pytest.mark.parametrize("name", PRETRAINED)
def test_every_operator_computes_in_integers(name):
    report = check(pretrained_model(name), "nnapi")
    assert report.passed and report.mapped == report.total


def test_the_small_one_is_small_and_has_a_name(tmp_path, monkeypatch):
    record = read_record(pretrained_model("camvid-small"))
    assert (record.model, record.input_height, record.input_width) == ("bisenetv2-small", 320, 416)
    assert pretrained_model("camvid-small").stat().st_size < 1 << 20
    result = CliRunner().invoke(main, ["inspect", "camvid-small"])
    assert result.exit_code == 0 and "bisenetv2-small" in result.stdout
    # A file of that name is meant before it.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "camvid-small").write_bytes(b"no model")
    assert CliRunner().invoke(main, ["inspect", "camvid-small"]).exit_code == 1


@pytest.mark.parametrize("name", PRETRAINED)
def test_golden_answers_are_its_own(name):
    segmenter = Segmenter(pretrained_model(name), reference=True)
    with np.load(golden_path(pretrained_model(name))) as golden:
        found, expected = segmenter.invoke(golden["inputs"][:1]), golden["reference"][0]
    np.testing.assert_array_equal(found.reshape(expected.shape), expected)


def test_it_finds_its_way_in_real_streets(segmenter):
    """On every 20th image of CamVid's test split, which it has not learned from."""
    root = os.environ.get("KERAS_BISENET_DATA")
    if not root:
        pytest.skip("KERAS_BISENET_DATA is not set: no real images here")
    from keras_bisenet.data import load_dataset

    dataset = load_dataset("camvid", Path(root) / "camvid")
    right = counted = 0
    for sample in dataset.split("test")[::20]:
        image, truth = dataset.read(sample)
        is_counted = truth != 255
        right += np.sum((segmenter.segment(image).class_ids == truth) & is_counted)
        counted += np.sum(is_counted)
    assert right / counted > 0.85

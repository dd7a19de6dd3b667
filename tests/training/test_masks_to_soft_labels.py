"""tools/masks_to_soft_labels.py: labels of squares, at the middle of each."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from keras_bisenet.data import load_dataset
from keras_bisenet.data.soft_labels import SoftLabels, unlabelled_images
from keras_bisenet.label_map import VOID

TOOL = Path(__file__).parents[2] / "tools" / "masks_to_soft_labels.py"


@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location("masks_to_soft_labels", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_all_pixels_of_a_square_count(tool):
    mask = np.array([[0, 1, 1], [0, 2, 1], [VOID, VOID, 2]], np.uint8)
    expected = [[[2, 1, 1], [0, 2, 0]], [[0, 0, 0], [0, 0, 1]]]
    np.testing.assert_array_equal(tool.shares_of(mask, 3), expected)
    turned = tool.shares_of(mask[:2, 1::-1], 3)
    np.testing.assert_array_equal(turned, tool.shares_of(mask[:2, :2], 3)[:, ::-1])


def test_a_data_set_becomes_extra_images(tool, tmp_path, streets):
    arguments = ["streets", "--data-dir", streets, "--split", "val", "--out", tmp_path]
    result = CliRunner().invoke(tool.main, [str(argument) for argument in arguments])
    assert result.output == f"3 images with soft labels: {tmp_path}\n"
    images = [sample.image for sample in unlabelled_images(tmp_path)]
    soft = SoftLabels(tmp_path / "soft", 11)
    soft.check(images)
    dataset = load_dataset("streets", streets)
    _, mask = dataset.read(dataset.split("val")[0])
    counts = soft.read(images[0]).sum(axis=(0, 1))
    np.testing.assert_array_equal(counts, np.bincount(mask.reshape(-1), minlength=256)[:11])

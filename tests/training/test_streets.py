"""The generated street data set."""

import json

import numpy as np
import pytest
from PIL import Image

from keras_bisenet.data import streets
from keras_bisenet.errors import UsageError, UserError

NAMES = (
    "Sky Building Pole Road Pavement Tree SignSymbol Fence Car Pedestrian Bicyclist void".split()
)


def render(seed, height=96, width=128):
    return streets.render_street(np.random.default_rng(seed), height, width)


def generate(directory, counts, **options):
    streets.generate_streets(directory, counts=counts, size=(48, 64), **options)


def contents(directory):
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def sixty():
    """Images [60, 96, 128, 3] and masks [60, 96, 128]."""
    images, masks = zip(*(render(seed) for seed in range(60)))
    return np.stack(images), np.stack(masks)


@pytest.mark.parametrize("height, width", [(96, 128), (33, 70)])
def test_a_street_is_an_rgb_image_and_a_mask_of_ids(height, width):
    image, mask = render(5, height, width)
    assert image.dtype == np.uint8 and image.shape == (height, width, 3)
    assert mask.dtype == np.uint8 and mask.shape == (height, width)
    assert mask.max() <= streets.VOID == 11


def test_the_generator_decides_everything():
    image, mask = render(1)
    again, mask_again = render(1)
    other, _ = render(2)
    assert np.array_equal(image, again) and np.array_equal(mask, mask_again)
    assert not np.array_equal(image, other)


def test_every_class_occurs_often_enough_to_be_learnt(sixty):
    _, masks = sixty
    counts = np.array([np.bincount(mask.ravel(), minlength=12) for mask in masks])
    present = dict(zip(NAMES, (counts > 8).mean(axis=0)))
    assert all(share >= 0.3 for share in present.values()), present

    shares = dict(zip(NAMES, 100 * counts.sum(axis=0) / counts.sum()))
    expected = {  # percent of all pixels, around those of CamVid
        "Sky": (8, 22),
        "Building": (16, 30),
        "Pole": (0.6, 2.5),
        "Road": (24, 36),
        "Pavement": (5, 11),
        "Tree": (6, 16),
        "SignSymbol": (0.5, 2),
        "Fence": (0.7, 3),
        "Car": (3, 10),
        "Pedestrian": (0.4, 2),
        "Bicyclist": (0.3, 2),
        "void": (0.3, 4),
    }
    wrong = {n: shares[n] for n, (low, high) in expected.items() if not low < shares[n] < high}
    assert not wrong


def test_masks_are_laid_out_as_a_street(sixty):
    _, masks = sixty
    rows = np.arange(96)[None, :, None]
    assert (np.where(masks == streets.SKY, rows, 0).max(axis=(1, 2)) < 0.55 * 96).all()
    assert (np.where(masks == streets.ROAD, rows, 96).min(axis=(1, 2)) > 0.4 * 96).all()
    ahead = masks[:, 72:84, 56:72]
    assert np.mean(ahead == streets.ROAD) > 0.8


def test_pixels_show_what_the_mask_says(sixty):
    """Where a mask changes class the image changes too: the two are not shifted or swapped."""
    images, masks = sixty
    grey = images.mean(axis=-1)

    def contrast(shift):
        """Mean step in brightness where masks, moved by `shift` columns, change class."""
        step = np.abs(np.diff(grey, axis=2))
        edge = np.roll(np.diff(masks.astype(int), axis=2) != 0, shift, axis=2)
        return step[edge].mean()

    assert contrast(0) > 1.5 * max(contrast(-4), contrast(4))
    by_day = [i for i in range(60) if grey[i][masks[i] == streets.SKY].mean() > 120]
    brighter = [
        grey[i][masks[i] == streets.SKY].mean() > grey[i][masks[i] == streets.ROAD].mean()
        for i in by_day
    ]
    assert len(by_day) > 30 and np.mean(brighter) > 0.9


def test_colour_does_not_give_the_class_away(sixty):
    """The best guess from a pixel's colour, made on half of the images, fails on the others."""
    images, masks = sixty
    colours = (images // 32).astype(int) @ [64, 8, 1]
    votes = np.zeros((512, 12))
    np.add.at(votes, (colours[::2], masks[::2]), 1)
    guess, truth = votes.argmax(axis=1)[colours[1::2]], masks[1::2]
    iou = [
        np.sum((guess == c) & (truth == c)) / np.sum((guess == c) | (truth == c))
        for c in range(streets.VOID)
    ]
    assert np.mean(iou) < 0.3


def test_layout_is_that_of_the_camvid_release(tmp_path):
    seen = []
    generate(tmp_path / "s", {"train": 2, "val": 1}, progress=lambda *done: seen.append(done))
    assert sorted(contents(tmp_path / "s")) == [
        "streets.json",
        "train/street_00000.png",
        "train/street_00001.png",
        "trainannot/street_00000.png",
        "trainannot/street_00001.png",
        "val/street_00000.png",
        "valannot/street_00000.png",
    ]
    assert seen == [(1, 3), (2, 3), (3, 3)]
    with Image.open(tmp_path / "s/val/street_00000.png") as image:
        assert (image.mode, image.size) == ("RGB", (64, 48))
    with Image.open(tmp_path / "s/valannot/street_00000.png") as mask:
        assert (mask.mode, mask.size) == ("L", (64, 48))
        assert set(np.unique(mask)) <= set(range(12))
    recipe = json.loads((tmp_path / "s/streets.json").read_text())
    assert recipe == {
        "size": [48, 64],
        "seed": 0,
        "counts": {"train": 2, "val": 1},
        "drawing": streets.DRAWING,
    }


def test_an_image_depends_on_seed_split_and_number_alone(tmp_path):
    generate(tmp_path / "few", {"train": 1, "val": 1})
    generate(tmp_path / "many", {"val": 2, "train": 2, "test": 1})
    generate(tmp_path / "other", {"train": 1, "val": 1}, seed=1)
    few, many, other = (contents(tmp_path / name) for name in ("few", "many", "other"))
    images = [name for name in few if name.endswith(".png")]
    assert len(images) == 4
    assert all(few[name] == many[name] for name in images)
    assert all(few[name] != other[name] for name in images)
    assert len({data for name, data in many.items() if "annot/" not in name}) == 6


def test_a_finished_data_set_is_left_as_it_is(tmp_path):
    generate(tmp_path, {"train": 2})
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    seen = []
    generate(tmp_path, {"train": 2}, progress=lambda *done: seen.append(done))
    assert seen == []
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_an_interrupted_generation_is_run_again(tmp_path):
    def interrupt(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "s", {"train": 2, "val": 2}, progress=interrupt)
    assert "streets.json" not in contents(tmp_path / "s")
    (tmp_path / "s/.DS_Store").touch()
    generate(tmp_path / "s", {"train": 2, "val": 2})
    (tmp_path / "s/.DS_Store").unlink()
    generate(tmp_path / "whole", {"train": 2, "val": 2})
    assert contents(tmp_path / "s") == contents(tmp_path / "whole")

    (tmp_path / "s/val/street_00001.png").unlink()
    generate(tmp_path / "s", {"train": 2, "val": 2})
    assert contents(tmp_path / "s") == contents(tmp_path / "whole")


def test_what_it_did_not_make_is_refused(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train/0001TP_006690.png").write_bytes(b"CamVid")
    with pytest.raises(UserError, match="train/0001TP_006690.png is no generated street"):
        generate(tmp_path, {"train": 1})
    assert list(contents(tmp_path)) == ["train/0001TP_006690.png"]
    with pytest.raises(UserError, match="is a file"):
        generate(tmp_path / "train/0001TP_006690.png", {"train": 1})


@pytest.mark.parametrize("other", [{"seed": 1}, {"counts": {"train": 2}}])
def test_another_generation_is_refused(tmp_path, other):
    generate(tmp_path, {"train": 1})
    before = contents(tmp_path)
    with pytest.raises(UserError, match="streets.json is of streets with another seed"):
        generate(tmp_path, **{"counts": {"train": 1}, **other})
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    "options", [{"size": (16, 64)}, {"seed": -1}, {"counts": {"train": -1}}, {"counts": {}}]
)
def test_senseless_requests_are_refused(tmp_path, options):
    with pytest.raises(UsageError, match="cannot draw"):
        streets.generate_streets(tmp_path / "s", **options)
    assert not (tmp_path / "s").exists()

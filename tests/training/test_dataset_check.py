"""The rules of `dataset check`: each kind of damage gives its finding, and sound data none."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_bisenet.data import load_dataset
from keras_bisenet.data.camvid import CAMVID
from keras_bisenet.data.check import check_dataset
from keras_bisenet.data.check.suggestions import suggest_size
from keras_bisenet.data.streets import generate_streets, render_street

NUM_PAIRS = {"train": 8, "val": 3, "test": 3}


@pytest.fixture
def data(streets, tmp_path):
    """The 14 streets, for a test to damage."""
    shutil.copytree(streets, tmp_path / "streets")
    return tmp_path / "streets"


@pytest.fixture(scope="session")
def scenes():
    """24 street scenes of 48x64: images, and masks of ids 0 to 11."""
    return [render_street(np.random.default_rng([5, i]), 48, 64) for i in range(24)]


def check(directory, name="streets"):
    problems = []
    return check_dataset(load_dataset(name, directory, problems.append), problems)


def findings_of(directory, name="streets"):
    return check(directory, name).issues


def only_finding(directory, name="streets"):
    (finding,) = findings_of(directory, name)
    return finding


def rules(directory, name="streets"):
    return [finding.rule for finding in findings_of(directory, name)]


def mask_files(directory):
    return sorted(directory.glob("*annot/*.png"))


def change(path, function):
    """Rewrites a mask as `function` of its ids."""
    Image.fromarray(function(np.array(Image.open(path)))).save(path)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def save_folder(directory, pairs, classes=None):
    """A data set of the kind `folder`, three quarters of it for training."""
    for number, (image, mask) in enumerate(pairs):
        split = "val" if number % 4 == 0 else "train"
        save(directory / split / "images" / f"{number:03d}.png", image)
        save(directory / split / "masks" / f"{number:03d}.png", mask)
    if classes:
        (directory / "classes.txt").write_text("\n".join(classes))


# === Sound data ===


def test_streets_have_no_findings(streets):
    report = check(streets)
    assert report.issues == [] and report.passed
    assert {name: split.good for name, split in report.splits.items()} == NUM_PAIRS


@pytest.mark.parametrize(
    ("counts", "size"), [((3, 2, 1), (48, 64)), ((1, 1, 1), (32, 32)), ((20, 4, 4), (48, 64))]
)
def test_few_streets_have_no_findings(tmp_path, counts, size):
    generate_streets(tmp_path, counts=dict(zip(("train", "val", "test"), counts)), size=size)
    assert findings_of(tmp_path) == []


@pytest.mark.slow
def test_the_default_streets_have_no_findings(tmp_path):
    generate_streets(tmp_path / "streets")
    assert findings_of(tmp_path / "streets") == []


def test_a_part_of_camvid_has_no_findings(camvid, tmp_path):
    for folder in ("train", "trainannot", "val", "valannot", "test", "testannot"):
        (tmp_path / folder).mkdir()
        for path in sorted((camvid / folder).iterdir())[::8]:
            os.symlink(path, tmp_path / folder / path.name)
    assert findings_of(tmp_path, "camvid") == []


@pytest.mark.slow
def test_camvid_has_no_findings(camvid):
    report = check(camvid, "camvid")
    assert report.issues == []
    assert {name: split.good for name, split in report.splits.items()} == {
        "train": 367,
        "val": 101,
        "test": 233,
    }
    total = sum(split.file_ids for split in report.splits.values())
    assert total[:12].sum() == 701 * 360 * 480
    assert (total[:12] // 1000).tolist() == [
        19155, 29187, 1195, 35520, 8098, 13548, 1306, 1728, 5623, 774, 648, 4344
    ]  # fmt: skip


def test_black_and_white_masks_of_any_share_have_no_findings(tmp_path, scenes):
    """No crack in a third of the images, a few pixels of one in others, half of the rest."""
    pairs = []
    for number, (image, _) in enumerate(scenes):
        mask = np.zeros((48, 64), np.uint8)
        mask[: (0, 1, 24)[number % 3], : 8 + number] = 1
        pairs.append((image, mask))
    save_folder(tmp_path, pairs, ("wall", "crack"))
    assert findings_of(tmp_path, "folder") == []


def test_images_that_differ_by_a_detail_are_no_copies(tmp_path):
    """The same shape in the same place, in other colours; or the same scene with other digits."""
    mask = np.zeros((48, 64), np.uint8)
    mask[10:30, 10:40] = 1
    rng = np.random.default_rng(0)
    pairs = []
    for number in range(8):
        image = np.full((48, 64, 3), 40, np.uint8)
        image[10:30, 10:40] = rng.integers(60, 255, 3)
        pairs.append((image, np.roll(mask, number, axis=1)))
    save_folder(tmp_path, pairs, ("ground", "sign"))
    assert findings_of(tmp_path, "folder") == []


# === Files ===


def test_orphans(data):
    image, mask = data / "train" / "street_00003.png", data / "valannot" / "street_00001.png"
    (data / "trainannot" / image.name).unlink()
    (data / "val" / mask.name).unlink()
    report = check(data)
    assert not report.passed
    assert [(f.rule, f.severity, f.files) for f in report.issues] == [
        ("missing-mask", "error", (image,)),
        ("missing-image", "error", (mask,)),
    ]
    assert report.issues[0].message == "there is no mask for this image"
    assert report.issues[0].cure == (f"add {data / 'trainannot' / image.name} or remove the image")
    assert len(report.splits["train"].samples) == 7 and len(report.splits["val"].samples) == 2


def test_several_orphans_are_one_finding(data):
    for number in (1, 4, 6):
        (data / "trainannot" / f"street_{number:05d}.png").unlink()
    finding = only_finding(data)
    assert finding.message == "images without a mask: 3"
    assert [path.name for path in finding.files] == [
        "street_00001.png",
        "street_00004.png",
        "street_00006.png",
    ]
    assert finding.cure == "add the masks, or remove the images"
    assert finding.to_json()["count"] == 3


def test_truncated_files(data):
    image, mask = data / "train" / "street_00000.png", data / "testannot" / "street_00002.png"
    for path in (image, mask):
        path.write_bytes(path.read_bytes()[:300])
    report = check(data)
    found = [(f.rule, f.severity, f.files, f.cure) for f in report.issues]
    assert found == [
        ("unreadable-image", "error", (image,), "copy it again"),
        ("unreadable-mask", "error", (mask,), "copy it again"),
    ]
    assert all("damaged" in finding.message for finding in report.issues)
    assert report.splits["train"].good == 7 and report.splits["test"].good == 2
    assert report.splits["test"].sizes == {(64, 96): 3}  # its image is sound


def test_a_pair_of_damaged_files_is_named_twice(data):
    for folder in ("val", "valannot"):
        (data / folder / "street_00000.png").write_bytes(b"")
    assert rules(data) == ["unreadable-image", "unreadable-mask"]


def test_masks_saved_as_jpeg(tmp_path, scenes):
    save_folder(tmp_path, scenes[:8], CAMVID.names)
    for path in sorted(tmp_path.glob("*/masks/*.png"))[:2]:
        Image.open(path).save(path.with_suffix(".jpg"), quality=95)
        path.unlink()
    jpeg = [f for f in findings_of(tmp_path, "folder") if f.rule == "jpeg-mask"]
    assert [(f.severity, len(f.files)) for f in jpeg] == [("error", 2)]
    assert jpeg[0].message.startswith("masks saved with losses") and "PNG" in jpeg[0].cure


def test_a_mask_of_another_shape(data):
    path = data / "trainannot" / "street_00002.png"
    change(path, lambda ids: ids[:, :60])
    finding = only_finding(data)
    assert (finding.rule, finding.severity, finding.files) == ("size-mismatch", "error", (path,))
    assert finding.message == "the mask is 64x60, its image 64x96"


def test_masks_of_half_the_size_are_counted_in_a_warning(data):
    for path in (data / "valannot").iterdir():
        change(path, lambda ids: np.ascontiguousarray(ids[::2, ::2]))
    report = check(data)
    (finding,) = report.issues
    assert report.passed and (finding.rule, finding.severity) == ("mask-resized", "warning")
    assert finding.message == "masks of another size than their images: 3"
    assert finding.details[0] == "the mask is 32x48, its image 64x96"


# === Ids ===


def test_ids_that_are_off_by_one(data):
    for path in mask_files(data):
        change(path, lambda ids: ids + 1)  # void becomes 12
    finding = only_finding(data)
    assert (finding.rule, finding.severity) == ("shifted-ids", "error")
    assert finding.message == (
        "the ids of all masks are off by one; ids 1 to 12 occur, the classes have 0 to 10"
    )
    assert finding.cure.startswith("subtract 1 from every id but void")
    assert set(finding.files) <= set(mask_files(data))
    assert finding.details[0].startswith("unknown ids 12 (")


def test_ids_that_are_off_by_one_in_some_masks(data):
    wrong = mask_files(data)[-5:]
    for path in wrong:
        change(path, lambda ids: np.where(ids == 11, 10, ids).astype(np.uint8) + 2)
        change(path, lambda ids: ids - 1 + (ids == 12))  # the last class is 12, and unknown
    finding = only_finding(data)
    assert finding.rule == "shifted-ids" and set(finding.files) <= set(wrong)
    assert finding.message.startswith("masks whose ids seem to be off by one: ")


def test_ids_that_are_off_by_one_into_void(data):
    """With void at 255, Bicyclist takes the id that is void, and no id is unknown."""
    for path in mask_files(data):
        change(path, lambda ids: np.where(ids == 11, 255, ids + 1).astype(np.uint8))
    finding = only_finding(data)
    assert (finding.rule, finding.severity) == ("shifted-ids", "warning")
    assert finding.message == (
        "the masks' ids may be off by one: 0 (Sky) never occurs, and 11, which is void, does"
    )


def test_two_classes_that_are_off_by_one(tmp_path, scenes):
    pairs = [(image, (ids > 4).astype(np.uint8) + 1) for image, ids in scenes[:8]]
    save_folder(tmp_path, pairs)
    (tmp_path / "classes.csv").write_text("name,id\nroad,0\nother,1\n")
    finding = only_finding(tmp_path, "folder")
    assert finding.rule == "shifted-ids" and len(finding.files) == 8


def test_a_stray_id(data):
    path = data / "valannot" / "street_00001.png"
    ids = np.array(Image.open(path))
    ids[0, 0] = 77
    Image.fromarray(ids).save(path)
    finding = only_finding(data)
    assert (finding.rule, finding.severity, finding.files) == ("unknown-ids", "error", (path,))
    assert finding.details == ("unknown ids 77 (0.02% of the pixels)",)
    assert "void" in finding.cure


def test_a_class_that_nobody_declared(data):
    for path in mask_files(data):
        change(path, lambda ids: np.where(ids == 8, 12, ids).astype(np.uint8))
    report = check(data)
    assert "unknown-ids" in {finding.rule for finding in report.issues}
    assert '  - {name: "class 12", id: 12}' in report.suggestions.classes
    assert report.suggestions.classes_differ


def test_masks_of_colours(data):
    palette = np.array([*CAMVID.palette, (0, 0, 0)], np.uint8)
    for path in mask_files(data):
        change(path, lambda ids: palette[ids])
    report = check(data)
    (finding,) = report.issues
    assert (finding.rule, finding.severity) == ("colour-mask", "error")
    assert len(finding.files) == 14 and finding.message.endswith("class ids are expected: 14")
    assert '  - {name: "#784b8c", color: [120, 75, 140]}' in report.suggestions.classes


def test_masks_of_colours_that_became_grey(data):
    palette = np.array([*CAMVID.palette, (0, 0, 0)], np.uint8)
    for path in mask_files(data):
        change(path, lambda ids: np.array(Image.fromarray(palette[ids]).convert("L")))
    finding = only_finding(data)
    assert (finding.rule, finding.severity) == ("colours-as-ids", "error")
    assert len(finding.files) == 14 and "masks of colours" in finding.cure


def test_masks_of_grey_levels_without_a_classes_file(tmp_path, scenes):
    levels = np.array([0, 50, 100, 150], np.uint8)
    save_folder(tmp_path, [(image, levels[ids % 4]) for image, ids in scenes[:8]])
    found = {finding.rule: finding for finding in findings_of(tmp_path, "folder")}
    assert set(found) == {"inferred-classes"}, "equal steps are ids made visible"
    levels = np.array([0, 38, 52, 113], np.uint8)
    save_folder(tmp_path / "b", [(image, levels[ids % 4]) for image, ids in scenes[:8]])
    found = {finding.rule: finding for finding in findings_of(tmp_path / "b", "folder")}
    assert set(found) == {"inferred-classes", "colours-as-ids"}
    assert found["colours-as-ids"].severity == "warning"


@pytest.mark.parametrize("damage", ["jpeg", "smooth"])
def test_masks_that_were_smeared_before_they_became_png(data, damage):
    def smear(ids):
        ids = np.where(ids == 11, 255, ids).astype(np.uint8)
        if damage == "smooth":
            small = Image.fromarray(ids).resize((48, 32), Image.Resampling.BILINEAR)
            return np.array(small.resize((96, 64), Image.Resampling.BILINEAR))
        content = io.BytesIO()
        Image.fromarray(ids).save(content, "JPEG", quality=90)
        return np.array(Image.open(content))

    for path in mask_files(data):
        change(path, smear)
    found = {finding.rule: finding for finding in findings_of(data)}
    assert found["smeared-ids"].severity == "error"
    assert len(found["smeared-ids"].files) >= 9 and "nearest" in found["smeared-ids"].cure


# === Splits ===


def test_an_image_in_two_splits(data):
    for folder in ("", "annot"):
        shutil.copy(
            data / f"train{folder}" / "street_00005.png", data / f"val{folder}" / "renamed.png"
        )
    report = check(data)
    (finding,) = report.issues
    assert (finding.rule, finding.severity) == ("leaking-split", "error")
    assert finding.files == (data / "val" / "renamed.png",)
    assert finding.details == (f"is {data / 'train' / 'street_00005.png'}",)
    assert not report.passed


@pytest.fixture(scope="session")
def large_scene():
    return render_street(np.random.default_rng(3), 180, 240)


@pytest.mark.parametrize(("quality", "scale"), [(75, 1), (90, 0.5), (60, 0.75)])
def test_an_image_that_was_saved_anew_in_another_split(data, large_scene, quality, scale):
    image, mask = map(Image.fromarray, large_scene)
    image.save(data / "train" / "large.png")
    mask.save(data / "trainannot" / "large.png")
    size = (round(240 * scale), round(180 * scale))
    image.resize(size, Image.Resampling.LANCZOS).save(data / "test" / "anew.jpg", quality=quality)
    mask.resize(size, Image.Resampling.NEAREST).save(data / "testannot" / "anew.png")
    finding = only_finding(data)
    assert (finding.rule, finding.severity) == ("similar-images", "warning")
    assert finding.files == (data / "test" / "anew.jpg",)
    assert finding.details == (f"looks like {data / 'train' / 'large.png'}",)


def test_black_images_are_no_copies(data):
    for split in ("train", "val"):
        save(data / split / "street_00000.png", np.zeros((64, 96, 3), np.uint8))
    assert rules(data) == ["dark-image"]


# === Classes ===


def without(class_id):
    return lambda ids: np.where(ids == class_id, 255, ids).astype(np.uint8)


def test_a_class_that_one_split_lacks(data):
    for path in (data / "valannot").iterdir():
        change(path, without(4))
    finding = only_finding(data)
    assert (finding.rule, finding.severity) == ("missing-class", "warning")
    assert finding.message == ("classes that never occur in val, and do in other splits: Pavement")
    assert finding.to_json()["classes"] == ["Pavement"] and finding.to_json()["count"] == 1


def test_a_class_that_never_occurs(tmp_path, scenes):
    masks = [np.array([0, 0, 0, 0, 1, 3, 3, 3, 3, 3, 3, 3], np.uint8)[ids] for _, ids in scenes]
    pairs = [(image, mask) for (image, _), mask in zip(scenes, masks)]
    save_folder(tmp_path, pairs, ("road", "pavement", "boat", "other"))
    finding = only_finding(tmp_path, "folder")
    assert (finding.rule, finding.severity) == ("missing-class", "warning")
    assert finding.message == "classes that never occur in the 24 pairs: boat"


def test_a_rare_class_that_a_small_split_lacks_is_no_finding(data):
    for path in mask_files(data)[:-2]:
        change(path, without(10))
    assert findings_of(data) == []


# === Masks that say little ===


def test_masks_of_one_class_among_others(data):
    path = data / "trainannot" / "street_00007.png"
    change(path, lambda ids: np.full_like(ids, 3))
    finding = only_finding(data)
    assert (finding.rule, finding.severity, finding.files) == ("constant-mask", "warning", (path,))
    assert finding.message == "masks of almost one class alone, unlike the others: 1 of 14"
    assert finding.details == ("Road 100.00%",)


def test_masks_without_any_class(data):
    paths = sorted((data / "valannot").iterdir())
    change(paths[0], lambda ids: np.full_like(ids, 255))
    finding = only_finding(data)
    assert (finding.rule, finding.files) == ("void-mask", (paths[0],))
    for path in paths[1:]:
        change(path, lambda ids: np.full_like(ids, 255))
    found = {finding.rule: finding for finding in findings_of(data)}
    assert found["void-mask"].message == "every mask of val is void all over"


# === Suggestions ===


@pytest.mark.parametrize(
    ("sizes", "size"),
    [
        ({(360, 480): 7}, (384, 480)),
        ({(1024, 2048): 3}, (512, 1024)),
        ({(48, 64): 2}, (64, 64)),
        ({(3000, 4000): 3, (100, 100): 1}, (640, 832)),
    ],
)
def test_the_suggested_size(sizes, size):
    assert suggest_size(sizes) == size


def test_the_suggested_weights(streets, scenes, tmp_path):
    suggestions = check(streets).suggestions
    weights = np.array(suggestions.class_weights)
    pixels = check(streets).splits["train"].pixels[:11]
    np.testing.assert_allclose(weights[3] / weights[9], np.sqrt(pixels[9] / pixels[3]))
    assert np.average(weights, weights=pixels) == pytest.approx(1)
    halves = np.tile(np.array([0, 1], np.uint8), (48, 32))
    save_folder(tmp_path, [(image, halves) for image, _ in scenes[:8]], ("left", "right"))
    assert check(tmp_path, "folder").suggestions.class_weights is None


def test_the_suggested_classes_can_be_used(tmp_path, scenes):
    pytest.importorskip("yaml")
    save_folder(tmp_path, [(image, ids % 3) for image, ids in scenes[:8]])
    report = check(tmp_path, "folder")
    assert report.suggestions.classes_differ
    (tmp_path / "classes.yaml").write_text(report.suggestions.classes)
    again = check(tmp_path, "folder")
    assert again.issues == [] and again.dataset.label_map == report.dataset.label_map


# === Many pairs ===


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="/proc tells the peak")
def test_ten_thousand_pairs_stay_under_500_mebibytes(tmp_path):
    """The peak of a process of its own. That is VmHWM: the resource usage of a child counts what
    its parent held when it was forked, and what other children did."""
    scenes = [render_street(np.random.default_rng([9, i]), 360, 480) for i in range(40)]
    for number in range(10_000):
        image, mask = scenes[number % 40]
        place = number // 40
        shift = (7 * place % 360, 13 * place % 480)  # no two views of a scene are alike
        split, name = "val" if number % 5 == 0 else "train", f"{number:05d}"
        for folder in (tmp_path / split, tmp_path / f"{split}annot"):
            folder.mkdir(exist_ok=True)
        image, mask = (Image.fromarray(np.roll(each, shift, axis=(0, 1))) for each in (image, mask))
        image.save(tmp_path / split / f"{name}.jpg")
        mask.save(tmp_path / f"{split}annot" / f"{name}.png", compress_level=1)
    program = (
        "import atexit, sys; from pathlib import Path; from keras_bisenet.cli import main;"
        "status = Path('/proc/self/status');"
        "atexit.register(lambda: Path(sys.argv[1], 'status').write_text(status.read_text()));"
        "main(['dataset', 'check', '--dataset', 'streets', '--data-dir', *sys.argv[1:]])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), "--json", str(tmp_path / "report.json")],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert {name: split["good"] for name, split in report["splits"].items()} == {
        "train": 8000,
        "val": 2000,
    }
    assert report["findings"] == []
    peak = int(re.search(r"VmHWM:\s*(\d+) kB", (tmp_path / "status").read_text())[1])
    assert peak << 10 < 500 << 20, f"{peak >> 10} MiB"

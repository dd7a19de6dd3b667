"""`keras-bisenet dataset label`: contours, drafts and their order."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageDraw
from tflite_models import Graph, Op, T, model_bytes

from keras_bisenet.cli import main
from keras_bisenet.data import load_dataset
from keras_bisenet.data.contours import regions, simplified
from keras_bisenet.data.drafts import Style, entropy, write_drafts
from keras_bisenet.data.name_matching import without_masks
from keras_bisenet.errors import UsageError
from keras_bisenet.label_map import VOID, LabelMap
from keras_bisenet.runtime.segmenter import Segmenter
from keras_bisenet.segmenters import open_probabilities

LABELS = LabelMap(("background", "road", "car"), ((0, 0, 0), (128, 64, 128), (0, 0, 142)))


def drawn(points, size):
    image = Image.new("L", size[::-1])
    ImageDraw.Draw(image).polygon([tuple(point) for point in points], fill=1, outline=1)
    return np.array(image) > 0


def painted_by_pycocotools(points, size):
    masks = pytest.importorskip("pycocotools.mask")
    return masks.decode(masks.frPyObjects([points.reshape(-1).tolist()], *size)[0]) > 0


# === Contours ===


@pytest.mark.parametrize("seed", range(40))
def test_a_mask_is_painted_from_its_regions(seed):
    """From the largest to the smallest, by Pillow and by COCO's tools: any mask comes out."""
    random = np.random.default_rng(seed)
    size = tuple(random.integers(1, 14, 2).tolist())
    mask = random.integers(0, random.integers(2, 5), size).astype(np.uint8)
    by_pillow, by_coco = np.full((2, *size), 99, np.uint8)
    for region in regions(mask):
        by_pillow[drawn(region.centres, size)] = region.class_id
        corners = simplified(region.corners, 0)
        by_coco[painted_by_pycocotools(corners, size)] = region.class_id
    np.testing.assert_array_equal(by_pillow, mask)
    np.testing.assert_array_equal(by_coco, mask)


def test_a_region_with_a_hole_and_one_in_it():
    mask = np.zeros((10, 12), np.uint8)
    mask[1:9, 2:10] = 1
    mask[3:6, 4:7] = 2
    found = regions(mask)
    assert [(r.class_id, r.area, r.touches_border) for r in found] == [
        (0, 120, True),
        (1, 64, False),
        (2, 9, False),
    ]
    assert found[2].corners.tolist() == [[4, 3], [7, 3], [7, 6], [4, 6]]
    assert found[2].centres.tolist() == [[4, 3], [6, 3], [6, 5], [4, 5]]
    assert [r.class_id for r in regions(mask, min_area=10)] == [0, 1]


@pytest.mark.parametrize("tolerance", [0, 0.8, 2, 6])
def test_a_simplified_contour_is_off_by_the_tolerance_at_most(tolerance):
    rows, columns = np.ogrid[:80, :90]
    disc = ((rows - 40) ** 2 + (columns - 45) ** 2 < 33**2).astype(np.uint8)
    (region,) = [region for region in regions(disc) if region.class_id == 1]
    points = simplified(region.centres, tolerance)
    ends = np.roll(points, -1, axis=0) - points
    for point in region.centres:
        along = ((point - points) * ends).sum(axis=1) / (ends**2).sum(axis=1)
        nearest = points + np.clip(along, 0, 1)[:, None] * ends
        assert np.hypot(*(point - nearest).T).min() <= tolerance + 1e-9
    assert len(points) <= len(region.centres)
    if tolerance == 2:
        assert len(points) < 24
        assert (drawn(points, disc.shape) != disc).mean() < 0.02


# === Drafts ===


def test_entropy_is_of_the_largest_that_there_can_be():
    values = entropy(np.array([[1.0, 0, 0, 0], [0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0, 0]]))
    np.testing.assert_allclose(values, [0, 1, 0.5], atol=1e-6)


def model(image):
    """Road below, a car in it; as sure as the image is bright."""
    height, width = image.shape[:2]
    ids = np.zeros((height, width), int)
    ids[height // 2 :] = 1
    ids[height // 2 + 4 : height - 4, 8:20] = 2
    sure = 0.4 + 0.6 * image.mean() / 255
    found = np.full((height, width, 3), (1 - sure) / 2)
    np.put_along_axis(found, ids[..., None], sure, axis=-1)
    return found


@pytest.fixture
def images(tmp_path):
    (tmp_path / "images").mkdir()
    for name, grey in (("bright", 250), ("dark", 10), ("grey", 128)):
        Image.new("RGB", (48, 32), (grey,) * 3).save(tmp_path / "images" / f"{name}.png")
    return sorted((tmp_path / "images").iterdir())


def test_the_least_certain_come_first(tmp_path, images):
    out = tmp_path / "drafts"
    ranked = write_drafts(out, out, images, model, LABELS, Style(unsure_below=0.5), count=2)
    assert [draft.image.stem for draft in ranked] == ["dark", "grey"]
    with open(out / "drafts.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [
        str(tmp_path / "images" / f"{name}.png") for name in ("dark", "grey", "bright")
    ]
    assert float(rows[1]["confidence"]) == pytest.approx(0.4 + 0.6 * 128 / 255, abs=1e-4)
    masks = {path.stem: np.array(Image.open(path)) for path in (out / "masks").iterdir()}
    assert masks.keys() == {"dark", "grey"}
    assert (masks["dark"] == VOID).all()
    np.testing.assert_array_equal(masks["grey"], model(np.full((32, 48, 3), 128)).argmax(-1))


@pytest.mark.parametrize("form", ["png", "labelme", "coco"])
def test_drafts_come_back_as_a_data_set(tmp_path, images, form):
    """Masks beside the images, and polygons by `dataset import`."""
    out = tmp_path / "drafts"
    write_drafts(out, out, images, model, LABELS, Style(form, tolerance=0, min_area=1))
    if form == "png":
        (tmp_path / "masks").symlink_to(out / "masks")
        (tmp_path / "classes.yaml").write_text((out / "classes.yaml").read_text())
        directory = tmp_path
    else:
        pytest.importorskip("pycocotools")
        directory = tmp_path / "data"
        if form == "coco":
            for path in images:
                path.rename(out / path.name)
        source = out / "annotations.json" if form == "coco" else out
        arguments = ["dataset", "import", "--from", form, source, "-o", directory]
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
    dataset = load_dataset("folder", directory, lambda problem: None)
    names = dataset.label_map.names
    assert set(names) == set(LABELS.names) and names[0] == "background"
    expected = np.array(LABELS.names)[model(np.zeros((32, 48, 3))).argmax(-1)]
    samples = [sample for samples in dataset.splits.values() for sample in samples]
    assert len(samples) == 3
    for sample in samples:
        np.testing.assert_array_equal(np.array(names)[dataset.read(sample)[1]], expected)


def test_drafted_masks_have_the_ids_of_the_models_data_set(tmp_path, images):
    labels = LabelMap(LABELS.names, LABELS.palette, (2, 0, 1), (254,))
    out = tmp_path / "drafts"
    write_drafts(out, out, images, model, labels, Style(unsure_below=0.5))
    with Image.open(out / "masks" / "bright.png") as mask:
        assert labels.palette[1] == mask.convert("RGB").getpixel((0, 31))
        np.testing.assert_array_equal(labels.class_ids(np.array(mask)), answers_of(images[0]))
    assert (np.array(Image.open(out / "masks" / "dark.png")) == 254).all()
    full = LabelMap(LABELS.names, LABELS.palette, (0, 1, VOID), ())
    with pytest.raises(UsageError, match="no id for void"):
        write_drafts(out, out, images, model, full, Style(unsure_below=0.5))


def answers_of(path):
    with Image.open(path) as image:
        return model(np.array(image)).argmax(-1)


def test_deep_images_have_one_white(tmp_path, capsys):
    """A scene is as bright with a brighter pixel in it, or beside an image that has one."""
    images = [tmp_path / "a.tif", tmp_path / "b.tif"]
    for path, brightest in zip(images, (4000, 40000)):
        values = np.full((32, 48), 3000, np.uint16)
        values[0, 0] = brightest
        Image.fromarray(values).save(path)
    seen = []

    def dark(image):
        seen.append(int(image[9, 9, 0]))
        return model(image)

    write_drafts(tmp_path / "out", tmp_path / "out", images, dark, LABELS, Style())
    assert seen == [12, 12]  # 3000 of 65535


def label(*arguments):
    return CliRunner().invoke(main, ["dataset", "label", *map(str, arguments)])


def test_a_run_drafts_labels(float_run, streets, tmp_path):
    arguments = (float_run.path, streets / "val", "-o", tmp_path / "drafts", "--format", "labelme")
    result = label(*arguments)
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == (
        f"3 of 3 images drafted: {tmp_path / 'drafts'} (drafts.csv)"
    )
    content = json.loads((tmp_path / "drafts" / "street_00000.json").read_text())
    assert {shape["label"] for shape in content["shapes"]} <= set(float_run.label_map.names)
    image = (tmp_path / "drafts" / content["imagePath"]).resolve()
    assert image == (streets / "val" / "street_00000.png").resolve()
    assert (content["imageHeight"], content["imageWidth"]) == (64, 96)
    uncertainty = [float(line.split()[1]) for line in result.output.splitlines()[:-1]]
    assert uncertainty == sorted(uncertainty, reverse=True) and 0 < uncertainty[-1] < 1
    assert "something is here already" in label(*arguments).output
    again = label(*arguments[:3], tmp_path / "rest", "--labelled", streets / "valannot")
    assert again.exit_code == 1 and "no image here without a mask" in again.output


@pytest.mark.parametrize("name", ["SOFTMAX", "LOGISTIC"])
def test_probabilities_of_other_programs_are_taken_as_they_are(tmp_path, name):
    """Their softmax is not taken for logits: a certain pixel would become void."""
    tensors = [T("image", (1, 8, 12, 3)), T("answer", (1, 8, 12, 3))]
    options = ("SoftmaxOptions", {"Beta": 1.0}) if name == "SOFTMAX" else ("", {})
    operator = Op(name, (0,), (1,), *options)
    (tmp_path / "a.tflite").write_bytes(model_bytes(Graph(tensors, [operator], (0,), (1,))))
    labels, probabilities = open_probabilities(tmp_path / "a.tflite")
    image = np.zeros((8, 12, 3), np.uint8)
    image[..., 0] = 255  # logits 1, 0, 0
    values = np.exp([1, 0, 0]) if name == "SOFTMAX" else 1 / (1 + np.exp([-1, 0, 0]))
    np.testing.assert_allclose(probabilities(image)[4, 6], values / values.sum(), atol=1e-5)


def test_a_sigmoid_of_one_channel_is_the_foregrounds_probability(tmp_path):
    file = Path(__file__).parents[1] / "device" / "third_party" / "sigmoid.tflite"
    labels, probabilities = open_probabilities(file)
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    segmenter = Segmenter(file)
    raw = segmenter.invoke(segmenter.prepare(image)[0])
    found = probabilities(image)
    assert labels.names == ("background", "foreground")
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-6)
    answered = raw[..., 1]  # at half the size
    assert abs(found[..., 1].mean() - answered.mean()) < 0.01
    assert abs(found[..., 1].std() - answered.std()) < 0.1


@pytest.mark.parametrize(
    ("image", "mask", "is_labelled"),
    [
        ("i0.png", "i0.png", True),
        ("i0.jpg", "new/i0_mask.png", True),
        ("i0.jpg", "i0.jpg.png", True),
        ("I0_sat.jpg", "i0_gt.png", True),
        ("i0_L.png", "i0.png", False),
        ("i0.png", "i01.png", False),
    ],
)
def test_which_images_are_labelled(image, mask, is_labelled):
    """By the rules that pair a data set's files."""
    assert (without_masks([Path(image)], [Path(mask)]) == []) is is_labelled


def test_a_mask_of_the_very_name_is_no_other_images():
    images = [Path("road.png"), Path("road_L.png")]
    assert without_masks(images, [Path("road_L.png")]) == images[:1]


def test_what_no_drafts_come_from(tmp_path, streets, float_run):
    for model_path, images, message in (
        (float_run.path, tmp_path / "nowhere", "no such folder: name the folder of the images"),
        (float_run.path / "model.keras", streets / "val", "name a run directory or a .tflite file"),
        (tmp_path / "nothing", streets / "val", "there is no such file or directory"),
    ):
        result = label(model_path, images, "-o", tmp_path / "out")
        assert result.exit_code in (1, 2) and message in result.output, result.output
        assert not (tmp_path / "out").exists()

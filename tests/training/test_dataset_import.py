"""`keras-bisenet dataset import`: what is drawn is what each tool would draw."""

from __future__ import annotations

import json
import shutil
import unicodedata

import numpy as np
import pytest
from annotation_tools import HEIGHT, TOOLS, WIDTH, pillow
from click.testing import CliRunner
from dataset_layouts import write_image
from PIL import Image

from keras_bisenet.cli import main
from keras_bisenet.data import load_dataset
from keras_bisenet.data.check import check_dataset
from keras_bisenet.data.importers.rasterize import coco_counts, coco_rle

pytest.importorskip("pycocotools")

SPLITS = {"coco", "cvat", "voc", "supervisely"}
"""The tools that divide."""

LEFT_OUT = {
    "coco": "6 boxes",
    "labelme": "6 shapes of the type point",
    "cvat": "6 polylines",
    "supervisely": "6 objects of the type point",
    "labelstudio": "6 regions of the type keypointlabels, 1 tasks that nobody finished",
}


def run(*arguments):
    return CliRunner().invoke(main, ["dataset", *map(str, arguments)])


def refused(*arguments) -> str:
    result = run(*arguments)
    assert result.exit_code in (1, 2) and result.output.startswith("Error: ")
    assert len(result.output.splitlines()) == 1, result.output
    return result.output


@pytest.mark.parametrize("tool", TOOLS)
def test_what_is_drawn_is_what_the_tool_draws(tmp_path, tool):
    truth = TOOLS[tool](tmp_path / "source")
    result = run("import", "--from", tool, tmp_path / "source", "-o", tmp_path / "data")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    background = "_background_" if tool == "labelme" else "background"
    # An export of Label Studio keeps no list of its labels.
    order = ("car", "road") if tool == "labelstudio" else ("road", "car")
    assert lines[0] == f"classes: 0 {background}, 1 {order[0]}, 2 {order[1]}"
    assert lines[1].startswith("where shapes overlap, ") and "below none are background" in lines[1]
    told = [line for line in lines if line.startswith("left out: ")]
    assert told == ([f"left out: {LEFT_OUT[tool]}"] if tool in LEFT_OUT else [])
    shown = " (train 4, val 2)" if tool in SPLITS else ""
    assert lines[-1] == f"6 images{shown}: {tmp_path / 'data'} (--dataset folder)"

    problems = []
    dataset = load_dataset("folder", tmp_path / "data", problems.append)
    assert dataset.label_map.names == (background, *order)
    found = {
        sample.image.stem.rpartition("-")[2]: dataset.read(sample)
        for samples in dataset.splits.values()
        for sample in samples
    }
    assert found.keys() == truth.keys()
    numbers = np.arange(256)
    numbers[[1, 2]] = order.index("road") + 1, order.index("car") + 1
    for name, expected in truth.items():
        expected = numbers[expected]
        assert (found[name][1] != expected).sum() == 0, name
        assert found[name][0].shape == (HEIGHT, WIDTH, 3)
    issues = check_dataset(dataset, problems).issues
    assert [issue.rule for issue in issues] == ([] if tool in SPLITS else ["missing-split"])
    if tool in SPLITS:
        stems = {split: {s.image.stem for s in d} for split, d in dataset.splits.items()}
        assert stems == {"train": set("abcd"), "val": set("ef")}


@pytest.mark.slow
@pytest.mark.parametrize("tool", TOOLS)
def test_a_model_is_trained_on_it(tmp_path, tool):
    TOOLS[tool](tmp_path / "source")
    assert run("import", "--from", tool, tmp_path / "source", "-o", tmp_path / "d").exit_code == 0
    (tmp_path / "config.yaml").write_text("model_options: {alpha: 0.125, head_width: 8}\n")
    options = ["--size", "64x64", "--epochs", "2", "--batch-size", "2"]
    arguments = ["train", "--dataset", "folder", "--data-dir", tmp_path / "d", "--run",
                 tmp_path / "run", "--config", tmp_path / "config.yaml", *options]  # fmt: skip
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    assert "best val mIoU 0." in result.output and (tmp_path / "run" / "model.keras").is_file()


# === COCO ===


def coco_file(path, annotations, images=("a.jpg",), categories=((1, "road"), (2, "car"))):
    content = {
        "images": [
            {"id": i, "file_name": name, "height": HEIGHT, "width": WIDTH}
            for i, name in enumerate(images)
        ],
        "annotations": annotations,
        "categories": [{"id": i, "name": name, "supercategory": "all"} for i, name in categories],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    for name in images:
        write_image(path.parent / name, 0, (HEIGHT, WIDTH))
    return path


def square(category, x, y, side, **values):
    ring = [x, y, x + side, y, x + side, y + side, x, y + side]
    area = side * side
    return {"image_id": 0, "category_id": category, "segmentation": [ring], "area": area, **values}


def drawn_mask(directory):
    (path,) = (directory / "masks").rglob("*.png")
    with Image.open(path) as image:
        return np.array(image)


def test_roboflows_first_category_stands_for_the_others(tmp_path):
    categories = ((0, "all"), (1, "road"), (2, "car"))
    path = coco_file(tmp_path / "s" / "_annotations.coco.json", [square(2, 5, 5, 9)],
                     categories=categories)  # fmt: skip
    result = run("import", "--from", "coco", path, "-o", tmp_path / "d")
    assert result.output.startswith("classes: 0 background, 1 road, 2 car\n")
    assert drawn_mask(tmp_path / "d")[10, 10] == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"category_id": 9}, "no category has the id 9"),
        ({"image_id": 5}, "annotations of image 5, which is not listed"),
        ({"segmentation": {"counts": [3]}}, "a run-length encoding that is damaged ('size')"),
        ({"segmentation": {"size": [48, 64], "counts": [3]}}, "counts of 3 pixels for 48x64"),
        ({"segmentation": {"size": [48, 64], "counts": "0~"}}, "a character '~' in the counts"),
        ({"segmentation": {"size": [48, 64], "counts": "0P"}}, "counts that end too early"),
        ({"segmentation": {"size": [48, 64], "counts": "@@"}}, "no numbers of pixels"),
        ({"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}, "a polygon of 7 numbers, x without y"),
        ({"segmentation": [[1, 2, 3, 4, 5, float("nan")]]}, "a coordinate is nan, no number"),
        ({"segmentation": [[1, 2, 3, 4, 5, 1e9]]}, "1000000000.0, far from any image"),
        ({"segmentation": [[0.1, 0.2, 0.7, 0.4, 0.5, 0.9]]}, "all coordinates lie between 0 and 1"),
        ({"segmentation": []}, "no shape on any image is a region (1 boxes)"),
        ({"segmentation": [[5, 5, 7, 5, 7, 6, 5, 6]]}, "covers more than 2 pixels: annotate"),
        ({"area": "large"}, "an area is 'large', no number"),
        ({"iscrowd": 0, "category_id": None}, "no category has the id None"),
        ({"segmentation": 5}, "not as coco writes it (TypeError: "),
        (
            {"segmentation": {"size": [4, 4], "counts": [2, 14]}},
            "a shape on a.jpg is of 4x4 pixels, and the image has 48x64",
        ),
    ],
)
def test_damaged_annotations_of_coco(tmp_path, change, message):
    path = coco_file(tmp_path / "s" / "a.json", [{**square(1, 5, 5, 9), **change}])
    assert message in refused("import", "--from", "coco", path, "-o", tmp_path / "d")
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("images", {"id": 0, "file_name": "b.jpg"}, "the images a.jpg and b.jpg have one id (0)"),
        ("categories", {"id": 1, "name": "lorry"}, "two categories have one id"),
    ],
)
def test_ids_that_are_there_twice(tmp_path, key, change, message):
    path = coco_file(tmp_path / "s" / "a.json", [square(1, 5, 5, 9)])
    content = json.loads(path.read_text())
    content[key].append({**content[key][0], **change})
    path.write_text(json.dumps(content))
    assert message in refused("import", "--from", "coco", path, "-o", tmp_path / "d")


def test_a_file_without_an_image(tmp_path):
    path = coco_file(tmp_path / "s" / "a.json", [], images=())
    assert f"{path}: no image in it" in refused("import", "--from", "coco", path, "-o", "d")


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"image_id": "0", "category_id": "2"},
        {"segmentation": [5, 5, 14, 5, 14, 14, 5, 14]},
        {"segmentation": [[[5, 5], [14, 5], [14, 14], [5, 14]]]},
        {"area": None},
        {"area": 0},
    ],
)
def test_what_other_programs_write_as_coco(tmp_path, change):
    """The small car comes first, and lies on the large road."""
    path = coco_file(
        tmp_path / "s" / "a.json",
        [
            {**square(2, 5, 5, 9), **change},
            {**square(1, 2, 2, 40), "area": change.get("area", 1600)},
        ],
    )
    content = json.loads(path.read_text())
    content["images"][0]["file_name"] = "https://example.org/data/a.jpg?token=1"
    path.write_text(json.dumps(content))
    result = run("import", "--from", "coco", path, "-o", tmp_path / "d")
    assert result.exit_code == 0, result.output
    mask = drawn_mask(tmp_path / "d")
    assert mask[10, 10] == 2 and mask[30, 30] == 1 and mask[46, 60] == 0


def panoptic_project(directory):
    """Two images; 0 is no segment, and the second car a crowd. Returns the ids that are meant."""
    numbers = np.zeros((HEIGHT, WIDTH), np.int64)
    numbers[10:] = 3_000_001
    numbers[20:30, 10:30] = 260
    numbers[20:30, 40:50] = 261
    meant = np.full(numbers.shape, 255)
    meant[10:], meant[20:30, 10:30], meant[20:30, 40:50] = 0, 1, 255
    png = np.stack([numbers % 256, numbers // 256 % 256, numbers // 65536], axis=-1)
    content = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "height": 48, "width": 64} for i in (7, 8)],
        "categories": [{"id": 4, "name": "car"}, {"id": 2, "name": "road"}],
        "annotations": [
            {
                "image_id": i,
                "file_name": f"{i}.png",
                "segments_info": [
                    {"id": 260, "category_id": 4, "iscrowd": 0},
                    {"id": 3_000_001, "category_id": 2},
                    {"id": 261, "category_id": 4, "iscrowd": 1},
                ],
            }
            for i in (7, 8)
        ],
    }
    folder = directory / "annotations" / "panoptic_val2017"
    folder.mkdir(parents=True)
    for i in (7, 8):
        write_image(directory / "val2017" / f"{i}.jpg", i, (HEIGHT, WIDTH))
        Image.fromarray(png.astype(np.uint8)).save(folder / f"{i}.png")
    folder.with_suffix(".json").write_text(json.dumps(content))
    return meant


def test_panoptic_annotations(tmp_path):
    meant = panoptic_project(tmp_path / "s")
    result = run("import", "--from", "coco", tmp_path / "s", "-o", tmp_path / "d")
    assert result.output.startswith("classes: 0 road, 1 car\n"), result.output
    for path in (tmp_path / "d").rglob("masks/*.png"):
        with Image.open(path) as image:
            np.testing.assert_array_equal(np.array(image), meant)
    (tmp_path / "s" / "annotations" / "panoptic_val2017" / "8.png").unlink()
    message = refused("import", "--from", "coco", tmp_path / "s", "-o", tmp_path / "e")
    assert "8.png: there is no such file, which panoptic_val2017.json names" in message


@pytest.mark.parametrize("seed", range(3))
def test_counts_are_decoded_as_pycocotools_does(seed):
    from pycocotools import mask as masks

    where = np.random.default_rng(seed).random((37, 53)) < (0.5, 0.02, 0.999)[seed]
    text = masks.encode(np.asfortranarray(where.astype(np.uint8)))["counts"].decode()
    counts = coco_counts(text)
    assert sum(counts) == where.size and sum(counts[1::2]) == where.sum()
    assert (coco_rle(text, 37, 53)((37, 53)) == where).all()
    assert (coco_rle(counts, 37, 53)((37, 53)) == where).all()


# === What all have in common ===


@pytest.mark.parametrize("labels", [("car ", " car"), ("caf\u00e9", "cafe\u0301")])
def test_labels_that_look_the_same_are_one_class(tmp_path, labels):
    TOOLS["labelme"](tmp_path / "s")
    for name, label in zip("ab", labels):
        path = tmp_path / "s" / f"{name}.json"
        path.write_text(path.read_text().replace('"car"', json.dumps(label)))
    (tmp_path / "s" / "labels.txt").unlink()
    result = run("import", "--from", "labelme", tmp_path / "s", "-o", tmp_path / "d")
    seen = unicodedata.normalize("NFC", labels[0].strip())
    names = sorted({seen, "car", "road"})
    assert result.exit_code == 0, result.output
    assert load_dataset("folder", tmp_path / "d").label_map.names == ("_background_", *names)


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("name,id\ncar,4\nbackground,9\nroad,2\n", {"car": 4, "road": 2, "below": 9}),
        ("car\nroad\n", {"car": 0, "road": 1, "below": 255}),
        ("name,id\nroad,0\ncar,255\nvoid,7\n", {"car": 255, "road": 0, "below": 7}),
    ],
)
def test_the_ids_of_another_data_set(tmp_path, text, ids):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / f"classes.{'csv' if ',' in text else 'txt'}").write_text(text)
    annotations = [square(1, 5, 5, 9), square(2, 30, 5, 9)]
    path = coco_file(tmp_path / "s" / "a.json", annotations)
    arguments = ("import", "--from", "coco", path, "--classes", tmp_path / "mine")
    result = run(*arguments, "-o", tmp_path / "d")
    assert result.exit_code == 0, result.output
    below = "void" if "background" not in text else "background"
    assert f"pixels below none are {below}" in result.output
    mask = drawn_mask(tmp_path / "d")
    assert (mask[10, 10], mask[10, 35], mask[40, 40]) == (ids["road"], ids["car"], ids["below"])
    dataset = load_dataset("folder", tmp_path / "d")
    (sample,) = dataset.split("train")
    names = np.array([*dataset.label_map.names, *["void"] * 256])
    assert names[dataset.read(sample)[1][10, [10, 35]]].tolist() == ["road", "car"]

    (tmp_path / "mine" / "classes.csv").write_text("name,id\nroad,0\ncar,255\n")
    (tmp_path / "mine" / "classes.txt").unlink(missing_ok=True)
    message = refused(*arguments, "-o", tmp_path / "e")
    assert f"{tmp_path / 'mine'}: there is no id for void: declare one" in message
    (tmp_path / "mine" / "classes.csv").write_text("name,id\nroad,0\nlorry,3\n")
    message = refused(*arguments, "-o", tmp_path / "e")
    assert f"'car' is none of the classes of {tmp_path / 'mine'} (road, lorry, ...): re" in message


def test_labels_that_differ_by_case_are_named(tmp_path):
    TOOLS["cvat"](tmp_path / "s")
    path = tmp_path / "s" / "annotations.xml"
    path.write_text(path.read_text().replace('label="car"', 'label="Car"', 1))
    result = run("import", "--from", "cvat", tmp_path / "s", "-o", tmp_path / "d")
    assert "labels that differ by case alone are classes of their own: Car, car" in result.output


@pytest.mark.parametrize("tool", ["labelme", "cvat"])
def test_a_shape_without_a_label_is_refused(tmp_path, tool):
    TOOLS[tool](tmp_path / "s")
    path = tmp_path / "s" / ("a.json" if tool == "labelme" else "annotations.xml")
    text = path.read_text()
    path.write_text(text.replace('"car"', '""'))
    assert f"{path}: a shape without a label: give it one" in refused(
        "import", "--from", tool, tmp_path / "s", "-o", tmp_path / "d"
    )


def test_the_image_among_a_tasks_texts(tmp_path):
    TOOLS["labelstudio"](tmp_path / "s")
    (path,) = (tmp_path / "s").glob("*.json")
    tasks = json.loads(path.read_text())
    for task in tasks:
        task["data"] = {"caption": "photo 3.5", "url": "http://example.org/", **task["data"]}
        for annotation in task["annotations"]:
            for result in annotation["result"]:
                for key, value in result["value"].items():
                    if key.endswith("labels") and key != "keypointlabels":
                        value.append("tree")
    path.write_text(json.dumps(tasks))
    result = run("import", "--from", "labelstudio", tmp_path / "s", "-o", tmp_path / "d")
    assert result.exit_code == 0, result.output
    assert "labels of regions that have several, but the first of each" in result.output


@pytest.mark.parametrize("tool", ["labelme", "supervisely"])
def test_images_that_nobody_annotated_are_counted(tmp_path, tool):
    TOOLS[tool](tmp_path / "s")
    folder = tmp_path / "s" / ("train/img" if tool == "supervisely" else ".")
    for name in "xyz":
        write_image(folder / f"{name}.jpg")
    result = run("import", "--from", tool, tmp_path / "s", "-o", tmp_path / "d")
    assert "left out: 3 images without an annotation, 6 " in result.output
    assert "\n6 images" in result.output


def test_polygons_and_holes_that_are_none_are_left_out(tmp_path):
    TOOLS["labelstudio"](tmp_path / "studio")
    (path,) = (tmp_path / "studio").glob("*.json")
    tasks = json.loads(path.read_text())
    click = {**tasks[0]["annotations"][0]["result"][0], "id": "9"}
    click["value"] = {"points": [[5, 5]], "closed": True, "polygonlabels": ["road"]}
    tasks[0]["annotations"][0]["result"].append(click)
    path.write_text(json.dumps(tasks))
    result = run("import", "--from", "labelstudio", path, "-o", tmp_path / "a")
    assert result.exit_code == 0, result.output
    assert "1 polygons of fewer than 3 points" in result.output

    truth = TOOLS["supervisely"](tmp_path / "super")
    path = tmp_path / "super" / "train" / "ann" / "a.png.json"
    content = json.loads(path.read_text())
    content["objects"][0]["points"]["interior"] += [[], [[1, 1]]]
    path.write_text(json.dumps(content))
    result = run("import", "--from", "supervisely", tmp_path / "super", "-o", tmp_path / "b")
    assert result.exit_code == 0, result.output
    assert "2 holes of fewer than 3 points" in result.output
    with Image.open(tmp_path / "b" / "train" / "masks" / "train" / "a.png") as mask:
        assert np.count_nonzero(np.array(mask) == 1) == np.count_nonzero(truth["a"] == 1)


def test_an_older_project_of_supervisely(tmp_path):
    TOOLS["supervisely"](tmp_path / "s")
    for path in (tmp_path / "s").rglob("ann/*.json"):
        path.rename(path.with_name(f"{path.name.split('.')[0]}.json"))
    result = run("import", "--from", "supervisely", tmp_path / "s", "-o", tmp_path / "d")
    assert result.output.endswith(
        f"6 images (train 4, val 2): {tmp_path / 'd'} (--dataset folder)\n"
    )


def test_images_that_are_not_here(tmp_path):
    path = coco_file(tmp_path / "s" / "a.json", [square(1, 5, 5, 9)], images=("a.jpg", "b.jpg"))
    (tmp_path / "s" / "b.jpg").unlink()
    arguments = ("import", "--from", "coco", path, "-o", tmp_path / "d")
    assert "1 of 2 images are not here, such as b.jpg: put them beside it" in refused(*arguments)
    result = run(*arguments, "--skip-missing")
    assert "left out: 1 images that are not here\n1 images: " in result.output


def test_links_in_place_of_copies(tmp_path):
    path = coco_file(tmp_path / "s" / "a.json", [square(1, 5, 5, 9)])
    assert run("import", "--from", "coco", path, "-o", tmp_path / "d", "--link").exit_code == 0
    image = tmp_path / "d" / "images" / "a.jpg"
    assert image.is_symlink() and image.resolve() == tmp_path / "s" / "a.jpg"


def test_unlabelled_pixels_may_be_void(tmp_path):
    annotations = [square(1, 5, 5, 9), square(2, 30, 5, 9)]
    path = coco_file(tmp_path / "s" / "a.json", annotations)
    arguments = ("import", "--from", "coco", path, "-o", tmp_path / "d", "--unlabelled", "void")
    assert run(*arguments).output.startswith("classes: 0 road, 1 car\n")
    mask = drawn_mask(tmp_path / "d")
    assert set(np.unique(mask)) == {0, 1, 255} and mask[10, 10] == 0 and mask[10, 35] == 1


@pytest.mark.parametrize("orientation", [3, 6, 8, 5])
def test_images_that_were_annotated_as_they_lie(tmp_path, orientation):
    """A tool that does not turn them: the mask is turned with the image, where sizes tell."""
    path = coco_file(tmp_path / "s" / "a.json", [square(1, 5, 5, 9)])
    exif = Image.Exif()
    exif[274] = orientation
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[5:14, 5:14] = 255
    Image.fromarray(pixels).save(tmp_path / "s" / "a.jpg", exif=exif, quality=95)
    assert run("import", "--from", "coco", path, "-o", tmp_path / "d").exit_code == 0
    dataset = load_dataset("folder", tmp_path / "d")
    pair = dataset.read_pair(dataset.split("train")[0])
    if orientation == 3:  # 180 degrees: the sizes do not tell
        assert [warning.rule for warning in pair.warnings] == ["turned-image"]
    else:
        assert ((pair.image[..., 0] > 128) == (pair.class_ids == 1)).mean() > 0.98


def test_an_image_of_another_size_is_refused(tmp_path):
    path = coco_file(tmp_path / "s" / "a.json", [square(1, 5, 5, 9)])
    write_image(tmp_path / "s" / "a.jpg", 0, (24, 32))
    assert "a.jpg was annotated at 48x64, and the image has 24x32" in refused(
        "import", "--from", "coco", path, "-o", tmp_path / "d"
    )


def test_two_images_of_one_name(tmp_path):
    path = coco_file(tmp_path / "s" / "a.json", [square(1, 5, 5, 9)], images=("a.jpg", "a.png"))
    assert "a.png and a.jpg would have one mask: rename one" in refused(
        "import", "--from", "coco", path, "-o", tmp_path / "d"
    )


def test_something_is_there_already(tmp_path):
    path = coco_file(tmp_path / "s" / "a.json", [square(1, 5, 5, 9)])
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "mine").write_text("")
    message = refused("import", "--from", "coco", path, "-o", tmp_path / "d")
    assert "something is here already: choose another folder" in message


@pytest.mark.parametrize("tool", TOOLS)
def test_a_folder_of_something_else(tmp_path, tool):
    write_image(tmp_path / "s" / "images" / "a.jpg")
    message = refused("import", "--from", tool, tmp_path / "s", "-o", tmp_path / "d")
    assert str(tmp_path / "s") in message
    assert "no such file or folder" in refused("import", "--from", tool, tmp_path / "n", "-o", "d")


@pytest.mark.parametrize(
    ("tool", "name", "old", "new", "message"),
    [
        ("labelme", "c.json", '"points"', '"dots"', "are no points"),
        ("labelme", "c.json", '"shapes"', '"shapes"]', "no JSON that can be read"),
        ("labelme", "c.json", '"shapes": [', '"shapes": null, "x": [', "its shapes are no list"),
        ("supervisely", "meta.json", '"car"', '"road"', "two classes are called 'road'"),
        ("labelme", "c.json", "4.0, 20.0", "NaN, 20.0", "a coordinate is nan, no number"),
        ("cvat", "annotations.xml", 'rle="2, 4, 1, 5"', 'rle="2, 4"', "a mask of 4x3 pixels whose"),
        ("cvat", "annotations.xml", "<image ", "<track/><image ", "CVAT for video: export it as"),
        ("cvat", "annotations.xml", "</image>", "", "no XML that can be read"),
        ("supervisely", "train/ann/a.png.json", '"car"', '"cat"', "'cat' is no class of meta.json"),
        ("supervisely", "train/ann/a.png.json", '"data": "', '"data": "AAAA', "a damaged bitmap"),
        (
            "labelstudio",
            "project-1-at-2026-11-25.json",
            '"rle": [0',
            '"rle": [255',
            "rle is damaged",
        ),
    ],
)
def test_damaged_annotations(tmp_path, tool, name, old, new, message):
    TOOLS[tool](tmp_path / "s")
    path = tmp_path / "s" / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    told = refused("import", "--from", tool, tmp_path / "s", "-o", tmp_path / "d")
    assert message in told and str(path) in told
    assert not (tmp_path / "d").exists()


def test_a_list_of_tasks_in_short_is_named(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([{"image": "a.jpg", "tag": []}]))
    message = refused("import", "--from", "labelstudio", tmp_path / "a.json", "-o", tmp_path / "d")
    assert "tasks without annotations (JSON-MIN?): export the project as JSON" in message


def test_a_polygon_that_leaves_the_image(tmp_path):
    TOOLS["labelme"](tmp_path / "s")
    path = tmp_path / "s" / "a.json"
    content = json.loads(path.read_text())
    outside = [(-50, -9), (30, 10), (200, 300)]
    content["shapes"] = [{"label": "car", "points": outside, "shape_type": "polygon"}]
    path.write_text(json.dumps(content))
    assert run("import", "--from", "labelme", tmp_path / "s", "-o", tmp_path / "d").exit_code == 0
    with Image.open(tmp_path / "d" / "masks" / "a.png") as mask:
        np.testing.assert_array_equal(np.array(mask) == 2, pillow(outside))


# === dataset split ===


@pytest.fixture
def frames(tmp_path):
    """Three sequences of four frames, in folders of their own."""
    for place in ("north", "south", "east"):
        for number in range(4):
            name = f"{place}/{place}_{number:04d}"
            write_image(tmp_path / "images" / f"{name}.jpg", number + len(place))
            (tmp_path / "masks" / place).mkdir(parents=True, exist_ok=True)
            mask = np.repeat(np.arange(4, dtype=np.uint8) // 2, 8)[:, None] * np.ones((1, 48))
            Image.fromarray(mask.astype(np.uint8)).save(tmp_path / "masks" / f"{name}.png")
    return tmp_path


@pytest.mark.parametrize("split_by", ["sequence", "folder", "north|south|east", r"/(\w\w)\w+_"])
def test_sequences_are_not_torn(frames, split_by):
    problems = []
    dataset = load_dataset("folder", frames, problems.append)
    rules = [issue.rule for issue in check_dataset(dataset, problems).issues]
    assert "torn-sequence" in rules
    result = run("split", "--data-dir", frames, "--split-by", split_by)
    assert result.output == (
        f"train: 8 images of 2 groups: {frames / 'train.txt'}\n"
        f"val: 4 images of 1 groups: {frames / 'val.txt'}\n"
    )
    dataset = load_dataset("folder", frames)
    places = {split: {s.image.parent.name for s in d} for split, d in dataset.splits.items()}
    assert len(places["train"]) == 2 and not places["train"] & places["val"]
    assert "has splits of its own" in refused("split", "--data-dir", frames, "--split-by", split_by)


@pytest.mark.parametrize(
    ("split_by", "message"),
    [
        ("(", "no regular expression"),
        ("west", "is not in "),
        ("th|e", "is not in "),
        ("images", "puts all 12 images into one group, images"),
    ],
)
def test_groups_that_divide_nothing(frames, split_by, message):
    if split_by == "th|e":
        shutil.rmtree(frames / "images" / "east")
        shutil.rmtree(frames / "masks" / "east")
        split_by = "north_0001"
    assert message in refused("split", "--data-dir", frames, "--split-by", split_by)
    assert not (frames / "train.txt").exists()

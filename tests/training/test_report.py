"""`keras-bisenet report`: the page is read as a browser reads it, and its values are asserted."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from keras_bisenet.cli import main
from keras_bisenet.data import load_dataset
from keras_bisenet.data.dataset import Dataset, Sample
from keras_bisenet.label_map import VOID, LabelMap
from keras_bisenet.reports.run_page import (
    class_table,
    configuration_table,
    curve,
    headline,
    label_map_table,
    matrix_table,
    nice_ticks,
    page,
)
from keras_bisenet.training.config import TrainingConfig
from keras_bisenet.training.examination import (
    Extremes,
    error_picture,
    examine,
    largest_confusion,
    ranked_classes,
)
from keras_bisenet.training.metrics import Scores, confusion_matrix
from keras_bisenet.training.run import Run

NAMES = ("road", "sky", "<b>car & van</b>", "ship")
PALETTE = ((128, 64, 128), (70, 130, 180), (0, 0, 142), (1, 2, 3))
LABELS = LabelMap(NAMES, PALETTE, file_ids=(7, 23, 26, 30), ignored_ids=(0,))
# Ships are neither there nor seen.
SCORES = Scores(NAMES, np.array([[80, 10, 10, 0], [0, 60, 0, 0], [1, 29, 10, 0], [0, 0, 0, 0]]))

VOID_ELEMENTS = {"meta", "img"}


class Element:
    """An element of a page: its attributes, its text, and what is inside it."""

    def __init__(self, tag, attributes):
        self.tag, self.attributes = tag, dict(attributes)
        self.children, self.own_text = [], []

    def all(self, tag, **attributes) -> list[Element]:
        """The elements inside that have this tag and these attributes, in order."""
        wanted = {name.rstrip("_"): value for name, value in attributes.items()}
        found = []
        for child in self.children:
            if child.tag == tag and wanted.items() <= child.attributes.items():
                found.append(child)
            found += child.all(tag, **attributes)
        return found

    @property
    def text(self) -> str:
        return "".join(part if isinstance(part, str) else part.text for part in self.own_text)

    def __getitem__(self, attribute):
        return self.attributes[attribute]


class Parser(HTMLParser):
    """Builds the tree, and refuses an element that is not closed in its place."""

    def __init__(self, text):
        super().__init__()
        self.root = Element("root", {})
        self.open = [self.root]
        self.feed(text)
        self.close()
        assert self.open == [self.root]

    def handle_starttag(self, tag, attributes):
        element = Element(tag, attributes)
        self.open[-1].children.append(element)
        self.open[-1].own_text.append(element)
        if tag not in VOID_ELEMENTS:
            self.open.append(element)

    def handle_endtag(self, tag):
        if tag not in VOID_ELEMENTS:
            assert self.open.pop().tag == tag

    def handle_data(self, data):
        self.open[-1].own_text.append(data)


def parsed(text) -> Element:
    return Parser(text).root


def body_rows(table: Element) -> list[list[str]]:
    """The text of a table's cells, row by row, without its head."""
    rows = [row for row in table.all("tr") if row.all("td") and not row.all("th", scope="col")]
    return [[cell.text for cell in row.children] for row in rows]


# === Which images are shown ===


@pytest.mark.parametrize("num_values", [0, 1, 2, 3, 5, 6, 7, 200])
def test_extremes_are_those_of_the_sorted_values(num_values):
    values = np.random.default_rng(num_values).permutation(num_values) / 10
    extremes = Extremes(3)
    most = 0
    for value in values:
        if extremes.takes(value):
            extremes.add(value, f"image {value}")
        most = max(most, len(extremes.lowest) + len(extremes.highest))
    expected = [f"image {value}" for value in sorted(values)]
    num_low = min(3, (num_values + 1) // 2)
    num_high = min(3, num_values // 2)
    assert list(extremes.lowest) == expected[:num_low]
    assert list(extremes.highest) == expected[::-1][:num_high]
    assert most == min(6, num_values)


def test_an_image_without_a_score_is_no_extreme():
    assert not Extremes(3).takes(float("nan"))


class InMemory(Dataset):
    """A data set of masks; the red of an image is the number of its mask."""

    def __init__(self, masks):
        samples = tuple(Sample(Path(f"{i}.png"), Path(f"{i}.png")) for i in range(len(masks)))
        super().__init__("memory", LABELS, {"val": samples})
        object.__setattr__(self, "masks", masks)

    def read(self, sample):
        mask = self.masks[int(sample.image.stem)]
        image = np.zeros((*mask.shape, 3), np.uint8)
        image[..., 0] = int(sample.image.stem)
        return image, mask


def test_one_pass_gives_the_scores_of_the_split_and_of_the_extremes():
    """Image k has k wrong pixels of 100, and the middle one nothing but void."""
    wrong = (5, 40, 0, 20, 60, 10)
    masks = [np.zeros((10, 10), np.uint8) for _ in wrong]
    masks.insert(3, np.full((10, 10), VOID, np.uint8))
    answers = [np.zeros(100, np.uint8) for _ in masks]
    for answer, count in zip(answers[:3] + answers[4:], wrong):
        answer[:count] = 2
    asked = []

    def segment(image):
        asked.append(int(image[0, 0, 0]))
        return answers[asked[-1]].reshape(10, 10)

    seen = []
    found = examine(segment, InMemory(masks), "val", 2, seen.append)
    assert asked == list(range(7)) and seen == [1] * 7
    assert (found.split, found.num_images) == ("val", 7)
    assert found.scores.confusion.tolist()[0] == [600 - sum(wrong), 0, sum(wrong), 0]
    assert [(one.name, one.scores.pixel_accuracy) for one in found.worst] == [
        ("5.png", 0.4),
        ("1.png", 0.6),
    ]
    assert [(one.name, one.scores.miou) for one in found.best] == [("2.png", 1.0), ("0.png", 0.475)]
    assert list(found.best[0].pictures) == ["image", "truth", "prediction", "errors"]

    tiles = parsed(headline(found)).all("div")
    assert [
        tuple(part.text for part in (*t.all("dt"), *t.all("b"), *t.all("small"))) for t in tiles
    ] == [
        ("mIoU", f"{found.scores.miou:.4f}", "val, 7 images"),
        ("pixel accuracy", "0.7750", "600 pixels"),
        ("best class", "0.7750", "road"),
        ("worst class", "0.0000", "<b>car & van</b>"),
        ("best image", "1.0000", "2.png"),
        ("worst image", "0.2000", "5.png"),
    ]


def test_errors_are_red_void_is_dark_and_the_rest_is_grey():
    image = np.full((1, 3, 3), 100, np.uint8)
    truth, predicted = np.array([[0, 1, VOID]], np.uint8), np.array([[0, 0, 0]], np.uint8)
    red = [round(0.3 * 100 + 0.7 * v) for v in (235, 40, 60)]
    np.testing.assert_allclose(
        error_picture(image, truth, predicted)[0], [[156] * 3, red, [30] * 3], atol=1
    )


# === The figures ===


def test_classes_by_iou():
    np.testing.assert_allclose(SCORES.iou, [80 / 101, 60 / 99, 10 / 50, np.nan])
    assert ranked_classes(SCORES) == [0, 1, 2]
    table = parsed(class_table(SCORES, LABELS))
    assert body_rows(table) == [
        ["road", "0.7921", "", "50.00%"],
        ["sky", "0.6061", "", "30.00%"],
        ["<b>car & van</b>", "0.2000", "", "20.00%"],
        ["ship", "–", "", "0.00%"],
    ]
    widths = [bar.all("span")[0]["style"] for bar in table.all("td", class_="bar")]
    assert widths == ["width:79.2%", "width:60.6%", "width:20.0%", "width:0.0%"]
    colours = [key["style"] for key in table.all("span", class_="key")]
    assert colours == ["--c:#804080", "--c:#4682b4", "--c:#00008e", "--c:#010203"]


def test_the_largest_confusion():
    assert largest_confusion(SCORES) == ("<b>car & van</b>", "sky", 29 / 200)
    assert largest_confusion(Scores(NAMES, np.diag([5, 6, 0, 0]))) is None


def test_the_matrix_in_percent_of_each_class():
    table = parsed(matrix_table(SCORES, LABELS)).all("table")[0]
    assert [cell.text for cell in table.all("th", scope="col")] == list(NAMES)
    assert body_rows(table) == [
        ["road", "80", "10", "10", ""],
        ["sky", "", "100", "", ""],
        ["<b>car & van</b>", "2", "72", "25", ""],
        ["ship", "", "", "", ""],
    ]
    cell = table.all("tr")[3].children[2]
    assert cell["title"] == "<b>car & van</b>, seen as sky: 72.5%"
    assert (cell["style"], cell["class"]) == ("--s:0.725", "high")
    assert "class" not in table.all("tr")[3].children[3].attributes


def test_a_small_share_has_a_colour_and_no_number():
    scores = Scores(("a", "b"), np.array([[9970, 30], [4, 9996]]))
    labels = LabelMap(("a", "b"), PALETTE[:2])
    table = parsed(matrix_table(scores, labels))
    assert body_rows(table) == [["a", "100", ""], ["b", "", "100"]]
    assert [cell.attributes.get("style") for cell in table.all("td")[1:]] == [
        "--s:0.997",
        "--s:0.003",
        None,
        "--s:1.000",
    ]


def test_a_curve_by_its_coordinates():
    figure = parsed(curve("val <mIoU>", [(1, 0.1), (3, 0.5), (5, 0.4)], kept=3))
    assert figure.all("figcaption")[0].text == "val <mIoU> 0.5"
    svg = figure.all("svg")[0]
    assert svg["aria-label"] == "val <mIoU>: 0.1 in epoch 1, 0.4 in epoch 5"
    # 0.1 lies at the bottom (170), 0.5 at the top (10); epochs 1 to 5 from 52 to 350.
    assert svg.all("polyline")[0]["points"] == "52.0,170.0 201.0,10.0 350.0,50.0"
    assert [(c["class"], c["cx"], c["cy"], c.text) for c in svg.all("circle")] == [
        ("dot", "52.0", "170.0", "epoch 1: 0.1"),
        ("dot", "350.0", "50.0", "epoch 5: 0.4"),
        ("ring", "201.0", "10.0", "epoch 3: 0.5"),
    ]
    texts = [(t.text, t["x"], t["y"]) for t in svg.all("text")]
    assert texts[:5] == [
        ("0.1", "46", "174.0"),
        ("0.2", "46", "134.0"),
        ("0.3", "46", "94.0"),
        ("0.4", "46", "54.0"),
        ("0.5", "46", "14.0"),
    ]
    assert [(text, x) for text, x, _ in texts[5:]] == [
        ("1", "52.0"),
        ("2", "126.5"),
        ("3", "201.0"),
        ("4", "275.5"),
        ("5", "350.0"),
    ]


def test_the_dots_of_many_epochs_do_not_hide_the_line():
    svg = parsed(curve("loss", [(epoch, 1 / epoch) for epoch in range(1, 101)], kept=50))
    kinds = [circle["class"] for circle in svg.all("circle")]
    assert kinds == ["spot"] * 99 + ["ring"]


def test_a_single_epoch_lies_in_the_middle():
    svg = parsed(curve("loss", [(1, 2.0)], kept=1)).all("svg")[0]
    assert svg.all("polyline")[0]["points"] == "201.0,90.0"
    assert [text.text for text in svg.all("text")] == ["0", "1", "2", "3", "4", "1"]


@pytest.mark.parametrize(
    ("low", "high", "options", "expected"),
    [
        (3.1, 7.6, {}, [2, 4, 6, 8]),
        (0.0, 0.0015, {}, [0, 0.0005, 0.001, 0.0015]),
        (0.3, 0.7, {}, [0.3, 0.4, 0.5, 0.6, 0.7]),
        (5e-7, 1.6e-6, {}, [5e-7, 1e-6, 1.5e-6, 2e-6]),
        (0.0, 0.0, {}, [-1, -0.5, 0, 0.5, 1]),
        (-2.0, -2.0, {}, [-4, -3, -2, -1, 0]),
        (1, 3, {"smallest_step": 1}, [1, 2, 3]),
        (1, 200, {"count": 5, "smallest_step": 1}, [0, 50, 100, 150, 200]),
        (7, 7, {"smallest_step": 1}, [6, 7, 8]),
    ],
)
def test_ticks_are_round_and_span_the_values(low, high, options, expected):
    assert nice_ticks(low, high, **options) == expected


def test_what_was_set_is_bold():
    config = TrainingConfig(
        dataset="streets",
        data_dir="<data>",
        size=(64, 96),
        model_options={"alpha": 0.125, "head_width": 8},
        flip=False,
        weight_decay=1e-5,
    )
    rows = parsed(configuration_table("Training", config)).all("tr")
    values = {row.all("th")[0].text: row.all("td")[0] for row in rows}
    assert {name for name, cell in values.items() if cell.all("b")} == {
        "dataset",
        "data_dir",
        "size",
        "model_options",
        "flip",
        "weight_decay",
    }
    shown = {name: cell.text for name, cell in values.items()}
    assert (shown["data_dir"], shown["size"]) == ("<data>", "64x96")
    assert shown["model_options"] == "alpha 0.125, head_width 8"
    assert (shown["flip"], shown["boosters"], shown["ema"]) == ("no", "yes", "none")
    assert (shown["weight_decay"], shown["scale"], shown["epochs"]) == ("1e-05", "0.75, 2", "200")


def test_the_label_map():
    table = parsed(label_map_table(LABELS))
    assert body_rows(table)[2] == ["2", "<b>car & van</b>", "#00008e", "26"]
    assert table.all("p")[0].text == "Void in masks: 0, 255."


def test_what_comes_from_files_cannot_become_markup(tmp_path):
    config = TrainingConfig(dataset="custom", data_dir="<script>", weights="<i>")
    run = Run.create(tmp_path / "<u>run", config, LABELS)
    run.write_metrics([{**METRICS, "epoch": 1}])
    mask = np.array([[0, 2], [2, VOID]], np.uint8)
    dataset = InMemory([mask])
    object.__setattr__(
        dataset, "splits", {"a<s>": (Sample(Path('0.<img src="x">'), Path("0.png")),)}
    )
    found = examine(lambda image: np.zeros((2, 2), np.uint8), dataset, "a<s>", 1)
    root = parsed(page(run, found))
    for tag in ("script", "i", "u", "s"):
        assert root.all(tag) == []
    assert {image["alt"] for image in root.all("img")} == {
        f'0.<img src="x">: {kind}' for kind in ("image", "truth", "prediction", "errors")
    }
    assert root.all("h1")[0].text == "<u>run"
    assert "<b>car & van</b> seen as road" in root.all("article")[0].text


# === The command ===

METRICS = {"loss": 2.0, "val_miou": 0.5, "val_pixel_accuracy": 0.8, "learning_rate": 0.1}


@pytest.fixture(scope="module")
def float_report(tmp_path_factory, command, float_run):
    """What the command says about the float run, and the page that it writes."""
    path = tmp_path_factory.mktemp("report") / "pages" / "report.html"
    output = command("report", float_run.path, "-o", path, "--images", 1)
    return output, path.read_text(encoding="utf-8")


def test_the_summary_on_the_terminal(float_report, float_run):
    output, _ = float_report
    lines = output.splitlines()
    assert lines[0] == f"mIoU            {float_run.best_miou():6.4f}  (val, 3 images)"
    assert [line[:14].strip() for line in lines[:4]] == [
        "mIoU",
        "pixel accuracy",
        "worst class",
        "worst image",
    ]
    assert re.search(r"report\.html: 0\.\d\d MiB", lines[4])


def test_the_page_has_all_inside_it(float_report):
    root = parsed(float_report[1])
    assert float_report[1].startswith("<!DOCTYPE html>\n")
    assert [root.all(tag) for tag in ("script", "link", "iframe")] == [[], [], []]
    for picture in root.all("img"):
        assert picture["src"].startswith("data:image/jpeg;base64,")
    (policy,) = root.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert policy["content"] == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert not re.search(r"url\(|@import", float_report[1])


def test_the_page_shows_the_run(float_report, float_run, streets):
    root = parsed(float_report[1])
    labels = float_run.label_map
    assert root.all("h1")[0].text == float_run.path.name
    assert [heading.text for heading in root.all("h2")] == [
        "Training",
        "Classes",
        "Confusion",
        "Images",
        "Configuration",
        "Label map",
    ]
    metrics = float_run.read_metrics()
    kept = max(metrics, key=lambda row: row["val_miou"])
    assert [caption.text for caption in root.all("figcaption")[:4]] == [
        f"training loss {kept['loss']:.4g}",
        f"val mIoU {kept['val_miou']:.4g}",
        f"val pixel accuracy {kept['val_pixel_accuracy']:.4g}",
        f"learning rate {kept['learning_rate']:.4g}",
    ]
    assert [len(svg.all("circle")) for svg in root.all("svg")] == [len(metrics)] * 4
    numbers = body_rows(root.all("table", class_="numbers")[0])
    assert [row[0] for row in numbers] == ["10", "20"]

    pixels = np.zeros(labels.num_classes, np.int64)
    dataset = load_dataset("streets", streets)
    for sample in dataset.split("val"):
        pixels += np.bincount(dataset.read(sample)[1].ravel(), minlength=256)[: len(pixels)]
    rows = body_rows(root.all("table", class_="classes")[0])
    assert {row[0]: row[3] for row in rows} == {
        name: f"{share:.2%}" for name, share in zip(labels.names, pixels / pixels.sum())
    }
    ious = [float(row[1]) for row in rows if row[1] != "–"]
    assert ious == sorted(ious, reverse=True)
    assert np.mean(ious) == pytest.approx(float_run.best_miou(), abs=1e-4)


def test_the_best_and_the_worst_image(float_report, float_run, streets):
    """One of each, with the same figures as `evaluate` gives, one image at a time."""
    from keras_bisenet.segmenters import open_segmenter

    segment = open_segmenter(float_run.path, float_run.label_map)
    dataset = load_dataset("streets", streets)
    mious = {}
    for sample in dataset.split("val"):
        image, truth = dataset.read(sample)
        matrix = confusion_matrix(truth, segment(image), dataset.label_map.num_classes)
        mious[sample.image.name] = Scores(dataset.label_map.names, matrix).miou
    root = parsed(float_report[1])
    articles = root.all("article")
    assert [heading.text for heading in root.all("h3")] == ["Worst", "Best"]
    assert [article.all("h4")[0].text for article in articles] == [
        min(mious, key=mious.get),
        max(mious, key=mious.get),
    ]
    assert [article.all("b")[0].text for article in articles] == [
        f"{min(mious.values()):.4f}",
        f"{max(mious.values()):.4f}",
    ]
    for picture in root.all("img"):
        data = base64.b64decode(picture["src"].partition(",")[2])
        with Image.open(io.BytesIO(data)) as opened:
            assert (opened.format, opened.size) == ("JPEG", (96, 64))


def test_a_quantized_run_and_the_default_place(command, qat_run):
    try:
        command("report", qat_run.path)
        root = parsed((qat_run.path / "report.html").read_text(encoding="utf-8"))
    finally:
        (qat_run.path / "report.html").unlink(missing_ok=True)
    assert root.all("header")[0].text.endswith("int8 for cpu")
    assert root.all("dd")[0].all("b")[0].text == f"{qat_run.best_miou():.4f}"
    assert [caption.text for caption in root.all("caption")] == ["Training", "Quantization"]
    assert len(root.all("article")) == 3  # each of the three images once


# === What is refused ===


def refusal(*arguments) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["report", *(str(argument) for argument in arguments)])
    return result.exit_code, result.output


def test_runs_that_there_is_nothing_to_report_on(tmp_path, tiny, ptq_run):
    assert refusal(tmp_path / "none") == (
        1,
        f"Error: {tmp_path / 'none'}: no run directory (it has no config.yaml): train one first\n",
    )
    run = Run.create(tmp_path / "new", tiny(), LABELS)
    assert refusal(run.path) == (
        1,
        f"Error: {run.path}: no model.keras here yet: finish an epoch of training "
        f"(keras-bisenet train --run {run.path} --resume)\n",
    )
    run.model_file.write_bytes(b"")
    assert refusal(run.path) == (
        1,
        f"Error: {run.path}: no finished epoch here yet (metrics.csv): "
        f"keras-bisenet train --run {run.path} --resume\n",
    )
    run.write_metrics([{**METRICS, "epoch": 1}])
    code, output = refusal(run.path)
    assert code == 1 and output.count("\n") == 1
    assert output.startswith(f"Error: {run.path}: ")
    code, output = refusal(ptq_run.path)
    assert code == 2 and output.count("\n") == 1
    assert f"keras-bisenet convert {ptq_run.path} -o model.tflite" in output


def test_options_that_make_no_sense(tmp_path, float_run):
    assert refusal(float_run.path, "--split", "dev") == (
        2,
        "Error: streets has no split 'dev': choose one of train, val, test\n",
    )
    assert refusal(float_run.path, "-o", tmp_path) == (
        2,
        f"Error: -o {tmp_path}: this is a folder: name a file, such as "
        f"{tmp_path / 'report.html'}\n",
    )
    model = tmp_path / "model.tflite"
    model.write_bytes(b"precious")
    assert refusal(float_run.path, "-o", model) == (
        2,
        f"Error: -o {model}: a report is an HTML page: choose a name that ends in .html\n",
    )
    assert model.read_bytes() == b"precious"
    assert refusal(float_run.path, "--images", 0)[0] == 2
    code, output = refusal(float_run.path, "--data-dir", tmp_path / "nothing")
    assert code == 1 and str(tmp_path / "nothing") in output and output.count("\n") == 1

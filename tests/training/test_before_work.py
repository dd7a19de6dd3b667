"""What can be refused is refused before anything is written."""

from __future__ import annotations

import dataclasses
import math
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from dataset_layouts import write_image, write_mask

from keras_bisenet.cli import main
from keras_bisenet.cli.train import check_before_work, warn_of_learnt_val
from keras_bisenet.data import load_dataset
from keras_bisenet.data.soft_labels import SoftLabels
from keras_bisenet.errors import UsageError, UserError
from keras_bisenet.label_map import LabelMap
from keras_bisenet.training.config import QuantizationConfig
from keras_bisenet.training.run import Run, best_row
from keras_bisenet.training.weights import learnt_val


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def write_data(directory, train=((0, 1),) * 4, val=((0, 1),) * 2):
    for split, masks in (("train", train), ("val", val)):
        for number, values in enumerate(masks):
            write_image(directory / split / "images" / f"{number}.png", number)
            write_mask(directory / split / "masks" / f"{number}.png", values)
    return directory


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"val": ((255,), (255,))}, "every mask of val is void all over"),
        ({"train": ((255,),) * 4}, "every mask of train is void all over"),
        ({"train": ((0, 1),)}, "1 training images do not fill a batch of 2"),
        ({"train": ((0,),) * 4, "val": ((0,),)}, "hold no two classes, only 0"),
    ],
)
def test_data_that_nothing_can_be_learnt_from(tmp_path, options, message):
    data = write_data(tmp_path / "data", **options)
    result = run("train", "--dataset", "folder", "--data-dir", data, "--run", tmp_path / "run",
                 "--batch-size", 2, "--size", "32x32")  # fmt: skip
    assert result.exit_code in (1, 2) and message in result.output, result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--class-weights", "1,2,3"), "class_weights: 3 weights for 2 classes: give one for each"),
        (
            ("--resident", "--coordinator", "h:1", "--num-processes", 2, "--process-id", 0),
            "--resident trains on one device, --coordinator on several: leave one of them out",
        ),
        (("--any-classes",), "--any-classes goes with --resume"),
        (("--resume", "--suggested"), "--suggested is for a new run: --resume goes on with the"),
        (("--extra-share", 0.2), "--extra-share does nothing without --extra"),
        (("--temperature", 2), "--temperature does nothing without --teacher, --soft-labels or"),
        (
            ("--soft-labels", "soft", "--extra-until", 0.5),
            "--extra-until does nothing without --extra",
        ),
        (
            ("--extra", "more", "--extra-until", 0.5, "--epochs", 1),
            "--extra-until 0.5 of 1 epochs is none of them: give a larger share, or leave",
        ),
    ],
)
def test_options_that_do_not_go_together(tmp_path, options, message):
    data = write_data(tmp_path / "data")
    options = ("--batch-size", 2, "--size", "32x32", *options)
    result = run("train", "--dataset", "folder", "--data-dir", data, "--run", tmp_path / "run",
                 *options)  # fmt: skip
    assert result.exit_code == 2 and message in result.output, result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("damage", ["mask", "image", "id"])
def test_a_bad_file_of_the_validation_split(tmp_path, damage):
    """It would show at the first validation, which may be hours away."""
    data = write_data(tmp_path / "data")
    (data / "classes.txt").write_text("a\nb\n")
    path = data / "val" / ("images" if damage == "image" else "masks") / "1.png"
    if damage == "id":
        write_mask(path, (0, 7))
    else:
        path.write_bytes(path.read_bytes()[:60])
    result = run("train", "--dataset", "folder", "--data-dir", data, "--run", tmp_path / "run",
                 "--batch-size", 2, "--size", "32x32", "--epochs", 9)  # fmt: skip
    assert result.exit_code == 1 and f"Error: {path}: " in result.output, result.output
    assert not (tmp_path / "run").exists()


def test_one_image_has_no_validation_split(tmp_path):
    write_image(tmp_path / "data" / "images" / "0.png")
    write_mask(tmp_path / "data" / "masks" / "0.png", (0, 1))
    result = run("train", "--dataset", "folder", "--data-dir", tmp_path / "data", "--run",
                 tmp_path / "run", "--batch-size", 1)  # fmt: skip
    assert result.exit_code == 2 and "folder has no split 'val'" in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("place", ["file", "file/run", "full"])
def test_places_where_no_run_can_be(tmp_path, place):
    data = write_data(tmp_path / "data")
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("")
    result = run("train", "--dataset", "folder", "--data-dir", data, "--run", tmp_path / place,
                 "--batch-size", 2, "--size", "32x32")  # fmt: skip
    assert result.exit_code == 2 and len(result.output.splitlines()) <= 2, result.output
    assert str(tmp_path / place) in result.output
    assert (tmp_path / "full" / "mine.txt").exists()


def test_a_run_without_a_checkpoint_is_started_anew(tmp_path, tiny):
    labels = LabelMap(("a", "b"), ((0, 0, 0), (9, 9, 9)))
    left = Run.create(tmp_path / "run", tiny(), labels)
    left.logs.mkdir()
    (left.logs / "events").write_text("")
    again = Run.create(tmp_path / "run", tiny(epochs=7), labels)
    assert again.config.epochs == 7 and not again.logs.exists()
    (again.path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="something is here already"):
        Run.create(tmp_path / "run", tiny(), labels)
    (again.path / "notes.txt").unlink()
    again.checkpoints.mkdir()
    (again.checkpoints / "epoch-0001.npz").write_text("")
    with pytest.raises(UsageError, match="something is here already"):
        Run.create(tmp_path / "run", tiny(), labels)


def test_a_run_that_was_killed_at_its_beginning_is_started_anew(tmp_path, tiny, monkeypatch):
    labels = LabelMap(("a", "b"), ((0, 0, 0), (9, 9, 9)))
    for folder in (".config.yaml.k2_x", "soft", "extra-soft", "checkpoints/.epoch-0001.npz.a1"):
        left = Run.create(tmp_path / folder, tiny(), labels)
        (left.path / folder).mkdir(parents=True)
        (left.path / folder / "a.npz").write_text("")
        assert left.is_left_over
        again = Run.create(left.path, tiny(), labels)
        assert not (again.path / folder).exists()
    # Before its configuration was written: what is left out is there first.
    written = []

    def killed(*_):
        written.extend(path.name for path in (tmp_path / "run").iterdir())
        raise KeyboardInterrupt

    images = [tmp_path / "data" / "train" / "a.png"]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("keras_bisenet.training.run.write_config", killed)
        Run.create(tmp_path / "run", tiny(), labels, leave_out=images)
    assert sorted(written) == ["label_map.json", "leave_out.txt"]
    Run.create(tmp_path / "run", tiny(), labels)
    # But nothing that may be another's.
    for name in ("label_map.json", ".git/config"):
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / name).write_text("")
    with pytest.raises(UsageError, match="something is here already"):
        Run.create(tmp_path / "mine", tiny(), labels)


def test_metrics_of_another_program(tmp_path):
    other = Run(tmp_path)
    other.metrics_file.write_text("step,loss\n1,0.5\n")
    with pytest.raises(UserError, match=r"metrics.csv: no readable metrics \(it has no column ep"):
        other.read_metrics()


def test_a_run_that_was_imported_without_its_data(tmp_path, tiny):
    from keras_bisenet.label_map import LabelMap

    labels = LabelMap(("a", "b"), ((0, 0, 0), (9, 9, 9)))
    path = tmp_path / "i1"
    made = Run.create(path, tiny(data_dir=""), labels)
    made.model_file.write_bytes(b"")
    message = f"Error: {path}: imported without the folder of its data set: give --data-dir\n"
    for arguments in (("evaluate", path), ("quantize", path, "--run", tmp_path / "q")):
        result = run(*arguments)
        assert (result.exit_code, result.output) == (2, message)
    result = run("import", tmp_path / "w.pth", "--layout", "mmseg", "--run", path, "--dataset",
                 "camvid", "--mean", "0,0,0", "--std", "1,1,1")  # fmt: skip
    assert (result.exit_code, result.output) == (
        2,
        f"Error: {path}: something is here already: choose another --run\n",
    )


def test_a_miou_that_is_no_number_is_never_the_best():
    rows = [{"epoch": e, "val_miou": m} for e, m in ((1, math.nan), (2, 0.1), (3, math.nan))]
    assert best_row(rows)["epoch"] == 2
    assert best_row(rows[::2])["epoch"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--json", "."], "--json .: this is a folder"),
        (["--json", "file/a.json"], "is a file, not a folder"),
        (["--confusion", "a.txt"], "--confusion a.txt: choose a name that ends in .png"),
        (["--scales", "nan"], "--scales 'nan': give positive numbers"),
        (["--scales", "1,1e9"], "--scales '1,1e9': give numbers up to 8"),
        (["--scales", "inf"], "--scales 'inf': give numbers up to 8"),
        (["--limit", "0"], "0 is not in the range x>=1"),
        (["--limit", "-3"], "-3 is not in the range x>=1"),
    ],
)
def test_evaluate_refuses_before_it_works(tmp_path, monkeypatch, options, message):
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    data = write_data(tmp_path / "data")
    result = run("evaluate", tmp_path / "none", "--dataset", "folder", "--data-dir", data, *options)
    assert result.exit_code == 2 and message in result.output, result.output


def test_an_io_that_no_file_would_have_is_refused(tmp_path):
    for precision in ("float32", "dynamic", "int16x8"):
        result = run("convert", tmp_path / "none", "-o", tmp_path / "a.tflite", "--io", "uint8",
                     "--precision", precision)  # fmt: skip
        assert result.exit_code == 2 and "--io uint8: for --precision int8 alone" in result.output


def test_evaluate_refuses_a_split_without_labels(tmp_path):
    data = write_data(tmp_path / "data", val=((255,), (255,)))
    (tmp_path / "model.keras").write_bytes(b"")
    result = run("evaluate", tmp_path / "model.keras", "--dataset", "folder", "--data-dir", data)
    assert result.exit_code == 1 and "every mask of val is void all over" in result.output


def test_packing_and_checking_refuse_before_they_work(tmp_path):
    data = write_data(tmp_path / "data")
    (tmp_path / "file").write_text("")
    for arguments in (
        ["pack", "-o", tmp_path / "file" / "packed"],
        ["check", "--json", tmp_path],
        ["check", "--suggest", tmp_path / "file" / "classes.yaml"],
        ["check", "--page", tmp_path / "file" / "page.html"],
    ):
        result = run("dataset", *arguments, "--dataset", "folder", "--data-dir", data)
        assert result.exit_code == 2 and "Error: " in result.output, result.output
        assert "reading" not in result.output


@pytest.mark.parametrize("verb", ["train", "quantize"])
def test_a_wrong_place_of_the_data_is_not_written_into_the_run(tmp_path, tiny, verb):
    config, source = tiny(), []
    labels = load_dataset(config.dataset, config.data_dir).label_map
    quantization = QuantizationConfig() if verb == "quantize" else None
    new = Run.create(tmp_path / "run", config, labels, quantization)
    if quantization:
        source = [Run.create(tmp_path / "float", config, labels).path]
        (tmp_path / "float" / "model.keras").touch()
    before = new.config_file.read_text()
    for wrong in (tmp_path / "nowhere", tmp_path):
        result = run(verb, *source, "--run", new.path, "--resume", "--data-dir", wrong)
        assert result.exit_code == 1 and f"Error: {wrong}" in result.output, result.output
        assert new.config_file.read_text() == before


def test_options_of_fine_tuning_where_nothing_is_trained(tmp_path, tiny):
    config = tiny()
    labels = load_dataset(config.dataset, config.data_dir).label_map
    source = Run.create(tmp_path / "float", config, labels)
    source.model_file.touch()
    result = run("quantize", source.path, "--run", tmp_path / "run", "--mode", "ptq",
                 "--batch-size", 4)  # fmt: skip
    assert (result.exit_code, result.output) == (
        2,
        "Error: --batch-size is for --mode qat: ptq trains nothing\n",
    )


def test_a_run_that_began_with_auto_goes_on_with_it(tmp_path, tiny, monkeypatch):
    config = tiny(precision="mixed_bfloat16")
    labels = load_dataset(config.dataset, config.data_dir).label_map
    settled = Run.create(tmp_path / "run", config, labels)
    trained = []

    def train(config, run):
        trained.append(config.precision)
        return [{"val_miou": 0.0, "epoch": 1.0}]

    monkeypatch.setattr("keras_bisenet.cli.train.train", train)
    assert run("train", "--run", settled.path, "--resume", "--precision", "auto").exit_code == 0
    assert trained == ["mixed_bfloat16"]
    result = run("train", "--run", settled.path, "--resume", "--precision", "float32")
    assert result.exit_code == 2 and "the run's own precision: " in result.output


def test_a_start_that_knows_the_validation_images_is_told(tmp_path, tiny):
    labels = load_dataset("streets", tiny().data_dir).label_map
    Run.create(tmp_path / "plain", tiny(), labels)
    Run.create(tmp_path / "apart", tiny(hold_out="00002"), labels)
    Run.create(tmp_path / "all", tiny(train_on_val=True), labels)
    expected = {
        ("plain", None): False,
        ("plain", "00002"): True,
        ("apart", "00002"): False,
        ("apart", None): False,
        ("all", None): True,
    }
    for (name, hold_out), known in expected.items():
        for source in (tmp_path / name, tmp_path / name / "model.keras"):
            assert learnt_val(str(source), tiny(hold_out=hold_out)) == known
    assert not learnt_val("camvid", tiny())
    camvid = dataclasses.replace(tiny(), dataset="camvid", weights="camvid")
    assert learnt_val("camvid", camvid)
    assert not learnt_val(str(tmp_path / "lone.keras"), tiny(hold_out="00002"))


def test_the_warning_names_the_source(tiny, capsys, monkeypatch):
    monkeypatch.setattr("keras_bisenet.data.problems._printed", set())
    warn_of_learnt_val(dataclasses.replace(tiny(), dataset="camvid", weights="camvid"))
    assert capsys.readouterr().err == (
        "Warning: camvid: --weights: it has learnt images of val, so that scores there are too "
        "high: compare such runs with each other alone\n"
    )


@pytest.mark.parametrize("options", [{}, {"resident": True}])
def test_extra_images_that_a_run_is_judged_by_are_told(
    tmp_path, streets, tiny, capsys, monkeypatch, options
):
    monkeypatch.setattr("keras_bisenet.data.problems._printed", set())
    monkeypatch.setattr("keras_bisenet.training.devices.check_resident", lambda: None)
    images = tmp_path / "more" / "images"
    images.mkdir(parents=True)
    for name in ("drive_00002_left.png", "new.png"):
        write_image(images / name)
    shutil.copy(streets / "val" / "street_00001.png", images / "val.png")
    shutil.copy(streets / "test" / "street_00001.png", images / "test.png")
    for image in images.iterdir():
        SoftLabels(tmp_path / "more" / "soft", 11).write(image, np.ones((32, 48, 11), np.uint8))

    def told(**changes):
        config = tiny(extra=str(tmp_path / "more"), extra_share=0.25, **options, **changes)
        check_before_work(config)
        return [line for line in capsys.readouterr().err.splitlines() if "--extra" in line]

    assert told(hold_out="00002") == [
        f"Warning: {images}/drive_00002_left.png, {images}/test.png: --extra: 2 of its 4 images "
        "are held out by --hold-out 00002, or in val or test too, so that scores there are too "
        "high: take them out of the folder"
    ]
    assert told() == [
        f"Warning: {images}/test.png, {images}/val.png: --extra: 2 of its 4 images are in val or "
        "test too, so that scores there are too high: take them out of the folder"
    ]
    assert told(train_on_val=True) == [
        f"Warning: {images}/test.png: --extra: 1 of its 4 images are in test too, so that "
        "scores there are too high: take them out of the folder"
    ]
    (images / "test.png").unlink()
    assert told(train_on_val=True) == []
    assert told(hold_out="*_00001.png") == [
        f"Warning: {images}/val.png: --extra: 1 of its 3 images are held out by "
        "--hold-out *_00001.png, or in val or test too, so that scores there are too high: take "
        "them out of the folder"
    ]


# === train --suggested ===


def test_suggestions_are_taken_over(streets, tmp_path):
    from keras_bisenet.cli.train import take_suggestions

    shutil.copytree(streets, tmp_path / "data")
    for folder, source in (("train", "val"), ("trainannot", "valannot")):
        for number in (0, 2):
            name = f"street_{number:05d}.png"
            shutil.copy(tmp_path / "data" / source / name, tmp_path / "data" / folder / f"c{name}")
    dataset = load_dataset("streets", tmp_path / "data")
    taken, leave_out = take_suggestions(dataset)
    names = ["cstreet_00000.png", "cstreet_00002.png"]
    assert leave_out == [tmp_path / "data" / "train" / name for name in names]
    assert taken["size"] == "64x96"
    weights = [float(weight) for weight in taken["class_weights"].split(",")]
    assert len(weights) == 11 and max(weights) > 2 * min(weights)


def test_what_was_left_out_stays_left_out(streets, tmp_path, tiny):
    config = tiny()
    labels = load_dataset(config.dataset, config.data_dir).label_map
    new = Run.create(tmp_path / "run", config, labels)
    new.leave_out_file.write_text("street_00001.png\n")
    names = [sample.image.name for sample in new.load_dataset().split("train")]
    assert len(names) == 7 and "street_00001.png" not in names
    assert len(new.load_dataset().split("val")) == 3


def test_leaks_are_found_before_val_is_trained_on(streets, tmp_path, monkeypatch):
    data = shutil.copytree(streets, tmp_path / "data")
    # Two images of test's; one of val's; and all of them with names that val and train have.
    copies = [("test", 2, "train", 1), ("test", 0, "val", 2), ("val", 0, "train", 2)]
    for source, i, split, k in copies:
        for end in ("", "annot"):
            place = data / f"{split}{end}" / f"street_{k:05d}.png"
            shutil.copy(data / f"{source}{end}" / f"street_{i:05d}.png", place)
    monkeypatch.setattr(
        "keras_bisenet.cli.train.train", lambda config, run: [{"val_miou": 0.0, "epoch": 1.0}]
    )
    result = run("train", "--dataset", "streets", "--data-dir", data, "--run", tmp_path / "run",
                 "--size", "64x96", "--suggested", "--train-on-val")  # fmt: skip
    assert "left out of training, since val or test has them: 2\n" in result.output, result.output
    new = Run(tmp_path / "run")
    lines = "./train/street_00001.png\n./val/street_00002.png\n"
    assert new.leave_out_file.read_text() == lines
    shutil.move(data, tmp_path / "moved")
    new.move_data(tmp_path / "moved")
    images = {sample.image for sample in new.load_dataset().split("train")}
    assert len(images) == 9
    assert tmp_path / "moved" / "val" / "street_00001.png" in images
    assert tmp_path / "moved" / "train" / "street_00001.png" not in images


def test_suggestions_of_bad_data_are_refused(tmp_path):
    data = write_data(tmp_path / "data", train=((0, 1),) * 6)
    (data / "classes.csv").write_text("name,id\na,0\nb,1\n")
    write_mask(data / "train" / "masks" / "3.png", (0, 7))
    result = run("train", "--dataset", "folder", "--data-dir", data, "--run", tmp_path / "run",
                 "--batch-size", 2, "--suggested")  # fmt: skip
    assert result.exit_code == 1 and "keras-bisenet dataset check lists what is" in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("by_file", [True, False])
def test_a_backend_that_nothing_runs_on(tmp_path, monkeypatch, by_file):
    data = write_data(tmp_path / "data")
    if by_file:
        monkeypatch.delenv("KERAS_BACKEND", raising=False)
        monkeypatch.setenv("KERAS_HOME", str(tmp_path))
        (tmp_path / "keras.json").write_text('{"backend": "torch"}')
    else:
        monkeypatch.setenv("KERAS_BACKEND", "torch")
    result = run("train", "--dataset", "folder", "--data-dir", data, "--run", tmp_path / "run")
    assert result.exit_code == 2
    assert result.output.strip().endswith("Keras' backend 'torch' is none of tensorflow and jax")
    assert not (tmp_path / "run").exists()

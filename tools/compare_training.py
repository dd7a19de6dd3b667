"""Trains the arms of an experiment with several seeds at an equal budget, and writes a table.

    python tools/compare_training.py tools/fast_step.yaml --data-dir DIR --work WORK

The YAML file has `common` training options, `arms` with the options by which each differs, and
`seeds`. Every run is a `keras-bisenet train`, named WORK/ARM-SEED; finished runs are left out and
interrupted ones resumed when the program is started again; one of other options than its arm's is
refused. Arms are run in their order, with all
seeds before the next. A run is scored by the validation mIoU after its last epoch, not by its
best: to choose the best of many would favour the arm that varies most. An arm rises beyond the
spread when its lowest seed is above the other's highest.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

import click
import yaml

from keras_bisenet.files import write_text
from keras_bisenet.training.config import TrainingConfig, make_config
from keras_bisenet.training.run import Run, is_stale


@click.command()
@click.argument("experiment", type=click.Path(exists=True, path_type=Path))
@click.option("--data-dir", required=True, type=click.Path(exists=True))
@click.option("--work", required=True, type=click.Path(path_type=Path), help="Where runs go.")
@click.option(
    "--extra",
    type=click.Path(exists=True, path_type=Path),
    help="A folder of folders with images and soft labels; an arm's `extra` names one of them.",
)
@click.option("--runs", type=click.IntRange(1), help="End after so many runs; go on later.")
def main(experiment: Path, data_dir: str, work: Path, extra: Path | None, runs: int | None):
    """Follow EXPERIMENT, a YAML file, to a table of scores."""
    plan = yaml.safe_load(experiment.read_text(encoding="utf-8"))
    found = {(arm, seed): work / f"{arm}-{seed}" for arm in plan["arms"] for seed in plan["seeds"]}
    for (arm, seed), path in found.items():
        check_options(Run(path), {**options_of(plan, arm, seed), "data_dir": data_dir})
    missing = [key for key, path in found.items() if not is_finished(Run(path))]
    for arm, seed in missing[:runs]:
        options = options_of(plan, arm, seed)
        if name := options.get("extra"):
            if not (extra and (extra / name).is_dir()):
                raise click.UsageError(f"{arm}: give --extra a folder with its images in {name}/")
            options["extra"] = str(extra / name)
        train(work / f"{arm}-{seed}", {**options, "data_dir": data_dir})
    table = "\n".join(rows(plan, work)) + "\n"
    write_text(work / "table.md", table)
    click.echo(table)


def options_of(plan: dict, arm: str, seed: int) -> dict:
    return {**plan["common"], **(plan["arms"][arm] or {}), "seed": seed}


def check_options(run: Run, options: dict) -> None:
    """Refuses a run that has been trained with other options than the plan's."""
    planned = vars(make_config(TrainingConfig, options, run.path.name))
    if not run.config_file.is_file():
        return
    own = {**vars(run.config), "data_dir": planned["data_dir"]}  # it may have moved
    if own["extra"]:
        own["extra"] = Path(own["extra"]).name
    if planned["precision"] == "auto":
        own["precision"] = "auto"
    if other := [name for name, value in planned.items() if own[name] != value]:
        raise click.UsageError(
            f"{run.path}: a run with other options than the plan's ({', '.join(other)}): remove "
            "it, or choose another --work"
        )


def train(path: Path, options: dict) -> None:
    """One run, from its beginning or from where it was interrupted."""
    arguments = ["--run", str(path), "--resume"]
    if not Run(path).config_file.is_file():
        config = path.with_suffix(".yaml")
        write_text(config, yaml.safe_dump(options, sort_keys=False))
        arguments = ["--run", str(path), "--config", str(config)]
    program = "from keras_bisenet.cli import main; main()"
    if subprocess.run([sys.executable, "-c", program, "train", *arguments]).returncode:
        raise SystemExit(1)


def is_finished(run: Run) -> bool:
    found = run.read_metrics() if run.config_file.is_file() else []
    if not found:
        return False
    return found[-1]["epoch"] == run.config.epochs or is_stale(found, run.config.early_stop)


def rows(plan: dict, work: Path) -> list[str]:
    """The table's lines: the arms' scores by seed, their mean and their spread."""
    seeds = plan["seeds"]
    lines = [
        f"| mIoU | {' | '.join(f'seed {seed}' for seed in seeds)} | mean | spread |",
        "|---" * (len(seeds) + 3) + "|",
    ]
    for arm in plan["arms"]:
        found = [Run(work / f"{arm}-{seed}") for seed in seeds]
        scores = [100 * r.read_metrics()[-1]["val_miou"] if is_finished(r) else None for r in found]
        done = [score for score in scores if score is not None]
        cells = ["" if score is None else f"{score:.2f}" for score in scores]
        cells.append(f"{statistics.mean(done):.2f}" if done else "")
        cells.append(f"{max(done) - min(done):.2f}" if len(done) > 1 else "")
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()

"""How much better a student learns from a reinforced dataset: digits-plus and cifar10-plus, equal views and steps.

Run it with `python benchmarks/student.py` (all), `--only digits` for one part, `--json` for one object a line. The
datasets are made on first use; cifar10-plus needs the teacher of `examples/train_cifar10_teachers.py`, and hours of two
CPU cores unless `--share` takes fewer images. Gains and ratios compare the reinforced student with the one trained on
hard labels, and with the one trained on smoothed labels.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import cifar10
import numpy as np
import workload
from measure import Metric, report

import reinforced
from reinforced import student, student_images, throughput
from reinforced.comparison import HARD, REINFORCED, SMOOTHED, Result
from reinforced.dataset import open_dataset
from reinforced.epoch import EpochReader

SHORT = {HARD: "hard", SMOOTHED: "smoothed", REINFORCED: "reinforced"}


def digits(asked: argparse.Namespace) -> list[Metric]:
    """Train an MLP on 200 and on 600 digits, chosen by the hashes of their keys, and measure it on the test split."""
    out = workload.cache_folder() / "digits-plus"
    dataset = reinforced.run("quickstart", [f"out={out}", "sinks=[]"]).dataset
    reader = EpochReader(dataset, shuffle=False)
    test = student_images.chosen_rows(dataset, "split", "test")
    held_out = student_images.held_out(dataset, test, reader.reinforcement.augment.size)
    metrics: list[Metric] = []
    for count in (200, 600):
        rows = student_images.chosen_rows(dataset, "split", "train", count)
        lessons = student_images.stored_views(reader, rows, reader.draws).lessons()
        arms = student.evaluate(lessons, held_out, student.Schedule(seeds=asked.seeds or 5))
        metrics += compared(f"digits_{count}", arms)
    return metrics


def cifar(asked: argparse.Namespace) -> list[Metric]:
    """Train a ResNet on cifar10-plus and measure it on the test file, clean and corrupted."""
    out = asked.dataset or workload.cache_folder() / f"cifar10-plus-{asked.share:g}"
    if not (out / "dataset.json").exists():
        cifar10.make(out, asked.data, asked.share, asked.set)
    schedule = cifar10.Schedule(asked.depth, asked.epochs)
    reader = EpochReader(open_dataset(str(out)), shuffle=False)
    arms, some, calibration = cifar10.compare(reader, asked.data, schedule, range(asked.seeds or 1))
    for result in calibration:
        said = f"{result['arm']}: accuracy {np.mean(result['accuracy']):.2%} on the calibration images\n"
        sys.stderr.write(said)
    corrupted = {result["arm"]: result["corrupted"]["accuracy"] for result in some}
    return [
        *compared("cifar10", arms),
        *(Metric(f"cifar10_corrupted_{SHORT[arm]}", 100 * float(np.mean(v)), "%") for arm, v in corrupted.items()),
        Metric("cifar10_corrupted_gain_points", points(corrupted[REINFORCED], corrupted[HARD]), "points"),
    ]


def loader(asked: argparse.Namespace) -> list[Metric]:
    """Measure what reading stored labels costs on all of CIFAR-10, in processor time; one thread.

    A network that has learned nothing makes the labels: what they say does not matter here.
    """
    out = workload.cache_folder() / "cifar10-plus-untrained"
    if not (out / "dataset.json").exists():
        untrained = "variables.teachers=[{factory: reinforced.models.mlp, arguments: {inputs: 3072}}]"
        cifar10.make(out, asked.data, 1, [*asked.set, untrained])
    schedule, reader = cifar10.Schedule(asked.depth), EpochReader(open_dataset(str(out)))
    seconds = throughput.seconds_per_epoch(reader, schedule.batch_size, time.process_time)
    steps = cifar10.step_seconds(schedule, len(reader))
    extra = seconds["stored"] - seconds["plain"]
    return [
        Metric("cifar10_loader_seconds", seconds["stored"], "s/epoch", seconds["plain"]),
        Metric("cifar10_step_seconds", steps, "s/epoch"),
        Metric("cifar10_extra_loader_share", 100 * extra / seconds["plain"], "%"),
        Metric("cifar10_extra_time_share", 100 * extra / (seconds["plain"] + steps), "%", target="<= 2"),
    ]


def compared(part: str, results: list[Result]) -> list[Metric]:
    """Return each arm's scores, then gains and ratios of the reinforced arm; means over seeds."""
    metrics, arms = [], {result["arm"]: result for result in results}
    for arm, result in arms.items():
        means = {name: 100 * float(np.mean(result[name])) for name in ("accuracy", "ece")}
        metrics += [Metric(f"{part}_{name}_{SHORT[arm]}", mean, "%") for name, mean in means.items()]
        if len(result["accuracy"]) > 1:
            spread = 100 * float(np.std(result["accuracy"], ddof=1))
            metrics.append(Metric(f"{part}_deviation_{SHORT[arm]}", spread, "points"))
    found = arms[REINFORCED]
    for against, suffix, targets in ((HARD, "", (">= 1.5", "<= 0.5")), (SMOOTHED, "_smoothed", ("", ""))):
        gain = points(found["accuracy"], arms[against]["accuracy"])
        ratio = float(np.mean(found["ece"]) / np.mean(arms[against]["ece"]))
        metrics.append(Metric(f"{part}_gain_points{suffix}", gain, "points", target=targets[0]))
        metrics.append(Metric(f"{part}_ece_ratio{suffix}", ratio, "times", 1.0, 1 / ratio, targets[1]))
    return metrics


def points(found: Any, against: Any) -> float:
    """Return the difference of two mean accuracies in percentage points."""
    return 100 * float(np.mean(found) - np.mean(against))


PARTS = {"digits": digits, "cifar10": cifar, "loader": loader}


def main() -> None:
    """Run the parts asked for and print their numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to run")
    parser.add_argument("--seeds", type=int, help="students of each arm; default: 5 on digits, 1 on cifar10")
    parser.add_argument("--data", type=Path, default=cifar10.DATA, help="folder of CIFAR-10's two Parquet files")
    parser.add_argument("--share", type=float, default=1.0, help="share of CIFAR-10's training images")
    parser.add_argument("--dataset", type=Path, help="where cifar10-plus is, or is to be made")
    parser.add_argument("--set", nargs="+", default=[], help="settings of the recipe, such as variables.draws=5")
    parser.add_argument("--depth", type=int, default=8, help="layers of the ResNet")
    parser.add_argument("--epochs", type=int, default=20, help="epochs of the ResNet")
    parser.add_argument("--json", action="store_true", help="print one object a line")
    asked = parser.parse_args()
    metrics = [metric for part in asked.only for metric in PARTS[part](asked)]
    report("Students", metrics, asked.json)


if __name__ == "__main__":
    main()

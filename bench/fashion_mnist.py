#!/usr/bin/env python3
"""Trains a ResNet-18 on Fashion-MNIST by `halfback train` over 2 ranks: accuracy on the 10,000 test images, and time.

The images come from Debian's dataset-fashion-mnist. --steps makes a shorter run, to see that it works.
"""

import argparse
import json
import os
import pathlib
import shutil
import sys
import time

import results

NUM_TRAIN_IMAGES = 60_000
IMAGES_PER_STEP = 128  # 1f1b-2 on 2 ranks: 4 micro-batches of 32


def command_of(options, steps, report):
    return [
        str(options.halfback), "train", "--model", "resnet", "--depth", "18", "--width", str(options.width),
        "--data", str(options.data), "--ranks", "2", "--schedule", "1f1b-2", "--two-stage", "on",
        "--micro-batch-size", str(IMAGES_PER_STEP // 4), "--steps", str(steps), "--warmup", str(max(1, steps // 20)),
        "--learning-rate", "0.003", "--learning-rate-floor", "0.01", "--weight-decay", "0.05",
        "--evaluate-every", str(max(1, steps // options.evaluations)), "--evaluate-samples", "0",
        "--seed", str(options.seed), "--report", str(report),
    ]  # fmt: skip


def run(options, steps):
    report = options.output / "fashion_mnist"
    shutil.rmtree(report, ignore_errors=True)
    command = command_of(options, steps, report)
    shown = results.shown([*command[:-1], os.path.relpath(report, results.ROOT)])
    print(f"==> {shown}", file=sys.stderr)
    begin = time.monotonic()
    said = results.run(command)
    seconds = time.monotonic() - begin
    lines = [json.loads(line) for line in (report / "metrics.jsonl").read_text().splitlines()]
    model = next(line for line in said.splitlines() if line.startswith("model: "))
    return {"command": shown, "model": model.removeprefix("model: "), "seconds": seconds, "lines": lines}


def render(record):
    rows = [[row["step"], f"{row['epochs']:.2f}", f"{row['train_loss']:.3f}", f"{row['test_loss']:.3f}",
             f"{row['test_accuracy']:.2%}"] for row in record["evaluations"]]  # fmt: skip
    return (f"{record['model']}. {record['seconds'] / 60:.1f} minutes with all evaluations, of which "
            f"{record['step_seconds'] / 60:.1f} in steps; {record['images_per_second']:.0f} images/s.\n\n"
            + results.table(["step", "epochs", "loss", "test loss", "accuracy on 10,000 test images"], rows))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=float, default=6.0, help="passes over the training images (default %(default)s)")
    parser.add_argument("--steps", type=int, help=f"steps of {IMAGES_PER_STEP} images each, instead of --epochs")
    parser.add_argument("--width", type=int, default=16, help="channels of the first group (default %(default)s)")
    parser.add_argument("--evaluations", type=int, default=6, help="number of evaluations (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the run (default %(default)s)")
    parser.add_argument("--data", type=pathlib.Path, default="/usr/share/datasets/fashion-mnist", metavar="DIR")
    parser.add_argument("--halfback", type=pathlib.Path, default=results.ROOT / "build/bench/cli/halfback")
    parser.add_argument("--output", type=pathlib.Path, default=results.ROOT / "build/bench-results", metavar="DIR")
    parser.add_argument("--rounds", type=int, help="runs this many times 10 steps; bench/run --quick sets it")
    options = parser.parse_args()
    results.require_program(options.halfback)
    if not options.data.is_dir():
        results.fail(f"{options.data} is missing; 'apt-get install dataset-fashion-mnist' brings it")
    results.warn_if_busy()
    machine = results.machine()
    steps = options.steps or (10 * options.rounds if options.rounds else round(options.epochs * NUM_TRAIN_IMAGES / IMAGES_PER_STEP))
    done = run(options, steps)
    step_seconds = sum(line["seconds"] for line in done["lines"])
    record = {
        "machine": machine, "steps": steps, "command": done["command"], "model": done["model"],
        "seconds": done["seconds"], "step_seconds": step_seconds,
        "images_per_second": IMAGES_PER_STEP * len(done["lines"]) / step_seconds,
        "evaluations": [
            {"step": line["step"], "epochs": line["step"] * IMAGES_PER_STEP / NUM_TRAIN_IMAGES,
             "train_loss": line["loss"], "test_loss": line["validation_loss"],
             "test_accuracy": line["validation_accuracy"]}
            for line in done["lines"] if "validation_accuracy" in line
        ],
    }  # fmt: skip
    text = f"{results.describe(record)}\n\n    {record['command']}\n\n{render(record)}"
    results.write(options.output, "fashion_mnist", record, text)


if __name__ == "__main__":
    main()

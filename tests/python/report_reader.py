#!/usr/bin/env python3
"""Checks what a training run leaves in its --report directory, with the programs that it is for.

    report_reader.py HALFBACK
"""

import json
import math
import pathlib
import subprocess
import sys
import tempfile

from tensorboard_reader import scalars

TAGS = {  # of TensorBoard: the key in metrics.jsonl
    "loss/train": "loss",
    "loss/validation": "validation_loss",
    "accuracy/validation": "validation_accuracy",
    "bits_per_byte/validation": "validation_bits_per_byte",
    "gradient_norm": "gradient_norm",
    "learning_rate": "learning_rate",
    "tokens_per_second": "tokens_per_second",
}
RANKS, STEPS = 2, 6


def read_metrics(report):
    return [json.loads(line) for line in (report / "metrics.jsonl").read_text().splitlines()]


def train(halfback, *arguments):
    subprocess.run([halfback, "train", *arguments], check=True, stdout=subprocess.DEVNULL)


def check_metrics(metrics):
    assert [line["step"] for line in metrics] == list(range(1, STEPS + 1)), metrics
    for line in metrics:
        assert len(line["memory_bytes"]) == RANKS, line
        assert 0.0 <= line["bubble_fraction"] < 1.0, line
        assert line["seconds"] > 0.0, line
        assert ("validation_loss" in line) == (line["step"] in (4, STEPS)), line


def check_events(report, metrics):
    read = scalars(str(report))
    assert sorted(read) == sorted(TAGS), sorted(read)
    for tag, key in TAGS.items():
        written = [[line["step"], line[key]] for line in metrics if key in line]
        assert [step for step, _ in read[tag]] == [step for step, _ in written], tag
        for (_, found), (_, expected) in zip(read[tag], written):
            assert math.isclose(found, expected, rel_tol=1e-6), (tag, found, expected)  # float32


def check_trace(halfback, report):
    """A track for each rank, whose names are the actions of the schedule."""
    trace = json.loads((report / "trace.json").read_text())
    events = trace["traceEvents"]
    names = {event["tid"]: event["args"]["name"] for event in events if event["ph"] == "M"}
    assert names == {rank: f"rank {rank}" for rank in range(RANKS)}, names
    schedule = json.loads(
        subprocess.run(
            [halfback, "schedule", "1f1b-2", "--ranks", str(RANKS), "--format", "json"],
            check=True, capture_output=True, text=True,
        ).stdout
    )  # fmt: skip
    for rank in range(RANKS):
        spans = [event for event in events if event["ph"] == "X" and event["tid"] == rank]
        for before, after in zip(spans, spans[1:]):
            end = round(1e3 * before["ts"]) + round(1e3 * before["dur"])  # Perfetto counts nanoseconds
            assert before["dur"] >= 0.0 and round(1e3 * after["ts"]) >= end, (before, after)
        own = [event["name"] for event in spans if event["cat"] in ("F", "I", "W", "B")]
        assert own == schedule["ranks"][rank], (own, schedule["ranks"][rank])
        rest = {event["cat"] for event in spans} - {"F", "I", "W", "B"}
        assert rest == ({"SEND_F", "RECV_B", "U"} if rank == 0 else {"RECV_F", "SEND_B", "U"}), rest


def check_config(halfback, report, again, metrics):
    """The configuration of a report gives the same run."""
    train(halfback, "--config", str(report / "config.toml"), "--report", str(again))
    losses = [[line["loss"], line.get("validation_loss")] for line in metrics]
    found = [[line["loss"], line.get("validation_loss")] for line in read_metrics(again)]
    assert found == losses, (found, losses)


def check_initial(halfback, directory):
    """So does that of a run which took its model's sizes from a checkpoint."""
    initial, again = directory / "initial", directory / "initial_again"
    train(
        halfback, "--data", str(directory / "text.txt"), "--initial", str(directory / "checkpoint"),
        "--ranks", "1", "--steps", "2", "--threads", "1", "--report", str(initial),
    )  # fmt: skip
    train(halfback, "--config", str(initial / "config.toml"), "--report", str(again))
    losses = [line["loss"] for line in read_metrics(initial)]
    assert [line["loss"] for line in read_metrics(again)] == losses


def main(arguments):
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    halfback = arguments[0]
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        # Quotes, backslashes and blanks in a path must survive config.toml.
        report = directory / 'a "run" \\ 1'
        (directory / "text.txt").write_text("In the beginning was a rather short text.\n" * 80)
        train(
            halfback, "--data", str(directory / "text.txt"), "--ranks", str(RANKS), "--schedule", "1f1b-2",
            "--steps", str(STEPS), "--warmup", "2", "--layers", "2", "--width", "16", "--heads", "2",
            "--kv-heads", "1", "--hidden", "24", "--sequence", "16", "--micro-batch-size", "2", "--seed", "9",
            "--epsilon", "3e-9", "--evaluate-every", "4", "--threads", "1", "--report", str(report),
            "--checkpoint", str(directory / "checkpoint"),
        )  # fmt: skip
        metrics = read_metrics(report)
        check_metrics(metrics)
        check_events(report, metrics)
        check_trace(halfback, report)
        check_config(halfback, report, directory / "again", metrics)
        check_initial(halfback, directory)
    print(f"{STEPS} steps of metrics, events and trace agree; config.toml gives the same run")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

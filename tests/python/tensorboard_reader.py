#!/usr/bin/env python3
"""Checks that TensorBoard reads our events.

    tensorboard_reader.py WRITE_EVENTS       runs the program into a temporary directory and checks what it wrote
    tensorboard_reader.py --print DIRECTORY  prints {tag: [[step, value], ...]} as JSON
"""

import json
import math
import subprocess
import sys
import tempfile

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def scalars(directory):
    """Returns {tag: [[step, value], ...]} as TensorBoard sees it, nothing sampled away."""
    accumulator = EventAccumulator(directory, size_guidance={"scalars": 0})
    accumulator.Reload()
    assert accumulator.file_version == 2.0, accumulator.file_version
    return {
        tag: [[event.step, event.value] for event in accumulator.Scalars(tag)]
        for tag in accumulator.Tags()["scalars"]
    }


def check(write_events):
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run([write_events, directory], check=True)
        read = scalars(directory)
    assert sorted(read) == ["far", "train/loss"], sorted(read)
    assert read["far"] == [[2**40, -1.5]], read["far"]
    losses = read["train/loss"]
    assert [step for step, _ in losses] == list(range(5000))
    assert all(math.isclose(value, 4.0 / (step + 1), rel_tol=1e-6) for step, value in losses)
    print(f"{len(losses) + 1} points as written")


def main(arguments):
    if len(arguments) == 2 and arguments[0] == "--print":
        json.dump(scalars(arguments[1]), sys.stdout)
        return 0
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    check(arguments[0])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

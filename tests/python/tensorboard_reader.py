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
        # A run, and one that resumes it after 3000 steps.
        for arguments in [["4"], ["5", "3000"]]:
            subprocess.run([write_events, directory, *arguments], check=True)
        read = scalars(directory)
    assert sorted(read) == ["far", "train/loss"], sorted(read)
    assert read["far"] == [[2**40, -5.0]], read["far"]
    losses = read["train/loss"]
    assert [step for step, _ in losses] == list(range(1, 5001))
    for step, value in losses:
        assert math.isclose(value, (4.0 if step <= 3000 else 5.0) / step, rel_tol=1e-6), (step, value)
    print(f"{len(losses) + 1} points as written, those of a resumed run once")


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

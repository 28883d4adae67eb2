#!/usr/bin/env python3
"""Measures what it costs to run over processes, and how much of data parallelism's sums the split backward hides.

`halfback train` runs in alternating rounds. The median step of each run counts, without its first steps. Ratios are
taken within a round.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import sys

import results

SIZE = ("--layers 8 --width 512 --heads 8 --hidden 1376 --sequence 256 --micro-batch-size 2 --evaluate-every 0 "
        "--warmup 1 --threads 1")
TRANSPORT = {
    "1f1b, 2 ranks": "--ranks 2 --schedule 1f1b --micro-batches 4",
    "zb-v, 2 ranks": "--ranks 2 --schedule zb-v --micro-batches 4",
}
DATA_PARALLEL = {  # D = 2 pipelines of one rank with 4 stages each, so that sums begin before the last stage's W
    "interleaved-1f1b, B": "--ranks 1 --stages-per-rank 4 --schedule interleaved-1f1b --micro-batches 2 --two-stage off",
    "interleaved-1f1b, I and W": "--ranks 1 --stages-per-rank 4 --schedule interleaved-1f1b --micro-batches 2 --two-stage on",
    "gpipe, B": "--ranks 1 --schedule gpipe --micro-batches 2 --two-stage off",
    "gpipe, I and W": "--ranks 1 --schedule gpipe --micro-batches 2 --two-stage on",
}
SKIPPED_STEPS = 2


class Trainer:
    def __init__(self, options):
        self.options = options
        self.report = options.output / "processes"
        self.commands = {}

    def __call__(self, name, arguments):
        """The lines of metrics.jsonl without the first steps."""
        shutil.rmtree(self.report, ignore_errors=True)
        data = os.path.relpath(self.options.data, results.ROOT)
        command = [str(self.options.halfback.resolve()), "train", "--data", data, *SIZE.split(),
                   "--steps", str(SKIPPED_STEPS + self.options.steps), *arguments.split()]
        self.commands[name] = results.shown(command)
        results.run([*command, "--report", str(self.report.resolve())], results.ROOT)
        lines = [json.loads(line) for line in (self.report / "metrics.jsonl").read_text().splitlines()]
        return lines[SKIPPED_STEPS:]


def step_of(lines):
    return statistics.median(line["seconds"] for line in lines)


def measure_transport(train, rounds):
    rows = []
    for name, arguments in TRANSPORT.items():
        inside, outside, last = [], [], None
        for _ in range(rounds):
            inside.append(step_of(train(name, arguments)))
            last = train(f"{name}, 2 processes", f"{arguments} --processes 2")
            outside.append(step_of(last))
        links = last[-1]["links"]
        rows.append({
            "name": name, "inside": inside, "outside": outside,
            "ratios": [there / here for here, there in zip(inside, outside)],
            "bytes": sum(link["bytes"] for link in links), "messages": sum(link["messages"] for link in links),
            "message_seconds": sum(link["seconds"] for link in links),
        })
    return rows


def measure_data_parallel(train, rounds):
    rows = []
    for name, arguments in DATA_PARALLEL.items():
        steps, sums, exposed = [], [], []
        for _ in range(rounds):
            lines = train(f"D = 2, {name}", f"{arguments} --data-parallel 2 --processes 2")
            steps.append(step_of(lines))
            sums.append(statistics.median(max(line["reduction_seconds"]) for line in lines))
            exposed.append(statistics.median(max(line["exposed_reduction_seconds"]) for line in lines))
        rows.append({"name": name, "steps": steps, "sums": sums, "exposed": exposed})
    return rows


def milliseconds(values):
    return results.spread(results.quartiles([1e3 * value for value in values]), 1)


def render_transport(rows):
    return results.table(
        ["schedule", "threads of a process, ms", "2 processes, ms", "ratio", "messages a step", "under way, ms"],
        [[row["name"], milliseconds(row["inside"]), milliseconds(row["outside"]),
          results.spread(results.quartiles(row["ratios"])), f"{row['messages']} of {row['bytes'] / 2**20:.1f} MiB in all",
          f"{1e3 * row['message_seconds']:.1f}"] for row in rows])


def render_data_parallel(rows):
    return results.table(
        ["2 pipelines, 2 processes", "step, ms", "sums, ms", "exposed, ms"],
        [[row["name"], milliseconds(row["steps"]), milliseconds(row["sums"]), milliseconds(row["exposed"])] for row in rows])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds (default %(default)s)")
    parser.add_argument("--steps", type=int, default=8, help="steps that count in each run (default %(default)s)")
    parser.add_argument("--data", type=pathlib.Path, default=results.ROOT / "build/data/kjv.txt", metavar="FILE")
    parser.add_argument("--halfback", type=pathlib.Path, default=results.ROOT / "build/bench/cli/halfback")
    parser.add_argument("--output", type=pathlib.Path, default=results.ROOT / "build/bench-results", metavar="DIR")
    options = parser.parse_args()
    results.require_program(options.halfback)
    if not options.data.is_file():
        results.fail(f"{options.data} is missing; './hb demo' makes it")
    results.warn_if_busy()
    machine = results.machine()
    train = Trainer(options)
    print("==> transport", file=sys.stderr)
    transport = measure_transport(train, options.rounds)
    print("==> data parallel", file=sys.stderr)
    data_parallel = measure_data_parallel(train, options.rounds)
    tables = {"transport": render_transport(transport), "data_parallel": render_data_parallel(data_parallel)}
    record = {"machine": machine, "rounds": options.rounds, "warmup_rounds": 0, "transport": transport,
              "data_parallel": data_parallel, "commands": list(train.commands.values()), "tables": tables}
    results.write(options.output, "processes", record,
                  f"{results.describe(record)}\n\n" + "\n".join(tables.values()))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Measures how long it takes to build, lower, verify and simulate a schedule, by its size: runs halfback_schedule_scale."""

import argparse
import json
import pathlib
import statistics

import results

SIZES = ((64, 256), (128, 512), (256, 1024), (512, 2048), (1024, 4096))
PHASES = ("build", "add_messages", "verify", "capacity", "simulate")


def shown_seconds(seconds):
    return f"{min(seconds):.3f} ({statistics.median(seconds):.3f})"


def render(record):
    columns = ["N", "M", "actions", "with messages", "build s", "add messages s", "verify s", "capacity s", "simulate s",
               "ns an action", "peak MiB"]
    rows = []
    for row in record["rows"]:
        nanoseconds = 1e9 * sum(min(row["seconds"][phase]) for phase in PHASES) / row["actions"]
        rows.append([row["ranks"], row["micro_batches"], f"{row['actions']:,}", f"{row['actions_with_messages']:,}",
                     *(shown_seconds(row["seconds"][phase]) for phase in PHASES), f"{nanoseconds:.0f}",
                     f"{row['peak_bytes'] / 2**20:.0f}"])
    return results.table(columns, rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="measured rounds (default %(default)s)")
    parser.add_argument("--program", type=pathlib.Path,
                        default=results.ROOT / "build/bench/bench/halfback_schedule_scale")
    parser.add_argument("--output", type=pathlib.Path, default=results.ROOT / "build/bench-results", metavar="DIR")
    options = parser.parse_args()
    results.require_program(options.program)
    results.warn_if_busy()
    machine = results.machine()
    rows = []
    for number, (ranks, micro_batches) in enumerate(SIZES):
        command = [str(options.program), "--ranks", str(ranks), "--micro-batches", str(micro_batches),
                   "--rounds", str(options.rounds)]
        rows.append(json.loads(results.run(command)))
        results.progress(number + 1, len(SIZES), "sizes")
    shown = f"halfback_schedule_scale --ranks N --micro-batches M --rounds {options.rounds}"
    record = {"machine": machine, "command": shown, "rounds": options.rounds, "warmup_rounds": 0, "rows": rows}
    results.write(options.output, "schedule_scale", record,
                  f"{results.describe(record)}\n\n    {shown}\n\n{render(record)}")


if __name__ == "__main__":
    main()

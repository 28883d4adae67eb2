#!/usr/bin/env python3
"""Two-stage backpropagation off and on, over schedules and numbers of ranks, beside what is predicted.

Runs `halfback compare --json` for each number of ranks. Up to the number of cores its times are wall clock; beyond, it
replays the CPU time of each action (emulated). The closed forms are those for F = I = W = 1 and no communication.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

import results

SCHEDULES = ["naive", "gpipe", "1f1b-1", "1f1b-2"]
# Step time off over step time on, of N ranks.
UNIT_GAIN = {
    "naive": lambda n: 3 * n / (2 * n + 1),
    "gpipe": lambda n: (6 * n - 3) / (5 * n - 2),
    "1f1b-1": lambda n: (6 * n - 3) / (4 * n - 1),
    "1f1b-2": lambda n: (9 * n - 3) / (7 * n - 1),
}


def run_compare(options, ranks):
    command = [str(options.halfback), "compare", "--json", "--schedules", ",".join(SCHEDULES), "--ranks", str(ranks),
               "--rounds", str(options.rounds), "--warmup-rounds", str(options.warmup_rounds), "--layers", "8",
               *options.sizes.split()]
    shown = " ".join([os.path.relpath(command[0], results.ROOT), *command[1:]])
    print(f"==> {shown}", file=sys.stderr)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        results.fail(f"it ended with {done.returncode}; its own message is above")
    rows = json.loads(done.stdout)
    for row in rows:
        row["unit_speed_up"] = UNIT_GAIN[row["schedule"]](ranks) if row["two_stage"] else 1.0
    return {"ranks": ranks, "command": shown, "rows": rows}


def render(record):
    lines = []
    for run in record["runs"]:
        for row in run["rows"]:
            on = row["two_stage"]
            lines.append([
                row["ranks"], row["schedule"], row["micro_batches"], "on" if on else "off",
                f"{row['step_seconds'] * 1e3:.1f} ± {row['spread_seconds'] * 1e3:.1f}",
                f"{row['tokens_per_second']:.0f}",
                f"{row['speed_up']:.3f}" if on else "",
                f"{row['predicted_speed_up']:.3f}" if on else "",
                f"{row['unit_speed_up']:.3f}" if on else "",
                f"{row['step_over_simulated']:.3f}", f"{row['bubble_fraction']:.3f}",
                f"{row['peak_activation_bytes'] / 2**20:.1f}", f"{row['predicted_activation_bytes'] / 2**20:.1f}",
                "yes" if row["bit_equal"] else "no", "emulated" if row["emulated"] else "wall clock"])
    return results.table(["N", "schedule", "M", "2BP", "step ms", "tokens/s", "gain", "predicted", "unit costs",
                          "step/simulated", "bubble", "activations MiB", "predicted MiB", "bit-equal", "time"], lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", default="2,4,8", help="(default %(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="(default %(default)s)")
    parser.add_argument("--warmup-rounds", type=int, default=2, help="(default %(default)s)")
    parser.add_argument("--sizes", default="", help="more options of compare, as in \"--width 512 --hidden 1376\"")
    parser.add_argument("--halfback", type=pathlib.Path, default=results.ROOT / "build/bench/cli/halfback")
    parser.add_argument("--output", type=pathlib.Path, default=results.ROOT / "build/bench-results", metavar="DIR")
    options = parser.parse_args()
    if not os.access(options.halfback, os.X_OK):
        results.fail(f"{os.path.relpath(options.halfback)} is missing; 'bench/run build' makes it")
    results.warn_if_busy()
    record = {"machine": results.machine(), "rounds": options.rounds, "warmup_rounds": options.warmup_rounds,
              "runs": [run_compare(options, int(ranks)) for ranks in options.ranks.split(",")]}
    commands = "".join(f"    {run['command']}\n" for run in record["runs"])
    results.write(options.output, "schedules", record, f"{results.describe(record)}\n\n{commands}\n{render(record)}")


if __name__ == "__main__":
    main()

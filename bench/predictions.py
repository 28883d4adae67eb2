#!/usr/bin/env python3
"""Measures how far the simulator is off: every family that trains is measured and simulated on 2 ranks (--ranks).

Runs `halfback compare --json` over all families with one replica, without and with the split backward where they have
both. The simulator gets the median times of the actions of the same rounds and no other number. The error is the
measured step over the simulated one, minus 1.
"""

import argparse
import json
import pathlib
import sys

import results


def families(halfback):
    """The names of backprop with one replica, which schedule list has in its last column."""
    listed = results.run([str(halfback), "schedule", "list"])
    rows = listed.split("\n\n")[0].splitlines()[1:]
    return [row.split()[0] for row in rows if row.split()[-1] == "1" and not row.startswith("local-")]


def quantile(values, part):
    """Interpolates linearly between the nearest two."""
    ordered = sorted(values)
    at = part * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (at - low) * (ordered[high] - ordered[low])


def errors_of(rows):
    return [row["step_over_simulated"] - 1.0 for row in rows]


def distribution(rows):
    """The median of the errors, and the 50th percentile, the 90th and the largest of their absolute values."""
    errors = errors_of(rows)
    sizes = [abs(error) for error in errors]
    return {"count": len(rows), "median": quantile(errors, 0.5), "p50": quantile(sizes, 0.5),
            "p90": quantile(sizes, 0.9), "largest": max(sizes)}


def render(record):
    rows = sorted(record["rows"], key=lambda row: row["step_over_simulated"])
    lines = [[row["schedule"], row["micro_batches"], "on" if row["two_stage"] else "off",
              f"{row['step_seconds'] * 1e3:.1f} ± {row['spread_seconds'] * 1e3:.1f}",
              f"{100 * (row['step_over_simulated'] - 1):+.1f} %", "yes" if row["bit_equal"] else "no",
              "emulated" if row["emulated"] else "wall clock"] for row in rows]
    found = record["distribution"]
    summary = results.table(["schedules", "median", "50 % within", "90 % within", "largest"],
                            [[found["count"], *(f"{100 * found[key]:.1f} %" for key in ("median", "p50", "p90", "largest"))]])
    detail = results.table(["schedule", "M", "2BP", "step ms", "error", "bit-equal", "time"], lines)
    return f"{summary}\n\n{detail}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2, help="number of ranks (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=10, help="measured rounds (default %(default)s)")
    parser.add_argument("--warmup-rounds", type=int, default=2, help="rounds before these (default %(default)s)")
    parser.add_argument("--halfback", type=pathlib.Path, default=results.ROOT / "build/bench/cli/halfback")
    parser.add_argument("--output", type=pathlib.Path, default=results.ROOT / "build/bench-results", metavar="DIR")
    options = parser.parse_args()
    results.require_program(options.halfback)
    results.warn_if_busy()
    command = [str(options.halfback), "compare", "--json", "--schedules", ",".join(families(options.halfback)), "--ranks",
               str(options.ranks), "--rounds", str(options.rounds), "--warmup-rounds", str(options.warmup_rounds)]
    shown = results.shown(command)
    print(f"==> {shown}", file=sys.stderr)
    rows = json.loads(results.run(command))
    record = {"machine": results.machine(), "rounds": options.rounds, "warmup_rounds": options.warmup_rounds,
              "command": shown, "rows": rows, "distribution": distribution(rows)}
    results.write(options.output, "predictions", record,
                  f"{results.describe(record)}\n\n    {shown}\n\n{render(record)}")


if __name__ == "__main__":
    main()

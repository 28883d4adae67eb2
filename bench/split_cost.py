#!/usr/bin/env python3
"""Measures what the split backward costs, layer by layer: runs halfback_split_cost and keeps its figures."""

import argparse
import json
import pathlib

import results


def render(record):
    columns = ["size", "layer", "F ms", "I ms", "W ms", "autograd F ms", "autograd B ms", "(I + W) / B"]
    keys = ("forward_ms", "input_ms", "weight_ms", "autograd_forward_ms", "autograd_backward_ms")
    return results.table(columns, [[row["size"], row["layer"], *(f"{row[key]:.3f}" for key in keys),
                                    results.spread(row["ratio"])] for row in record["rows"]])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40, help="measured rounds (default %(default)s)")
    parser.add_argument("--program", type=pathlib.Path,
                        default=results.ROOT / "build/bench/bench/halfback_split_cost")
    parser.add_argument("--output", type=pathlib.Path, default=results.ROOT / "build/bench-results", metavar="DIR")
    options = parser.parse_args()
    results.require_program(options.program)
    results.warn_if_busy()
    command = [str(options.program), "--json", "--rounds", str(options.rounds)]
    machine = results.machine()
    shown = results.shown(command)
    record = {"machine": machine, "command": shown, **json.loads(results.run(command))}
    results.write(options.output, "split_cost", record, f"{results.describe(record)}\n\n    {shown}\n\n{render(record)}")


if __name__ == "__main__":
    main()

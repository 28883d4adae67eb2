#!/usr/bin/env python3
"""Measures float32 matrix products by ATen and by Halfback: runs halfback_matrix_products and keeps its figures."""

import argparse
import json
import pathlib

import results


def render(record):
    rows = [[row["threads"], row["rows"], row["inputs"], row["outputs"], row["product"],
             *(results.spread(results.quartiles(row[side]), 0) for side in ("aten", "ours")),
             results.spread(results.quartiles([ours / aten for ours, aten in zip(row["ours"], row["aten"])]), 2)]
            for row in record["rows"]]
    return results.table(["threads", "rows", "in", "out", "product", "ATen", "Halfback", "ratio"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30, help="measured rounds (default %(default)s)")
    parser.add_argument("--program", type=pathlib.Path,
                        default=results.ROOT / "build/bench/bench/halfback_matrix_products")
    parser.add_argument("--output", type=pathlib.Path, default=results.ROOT / "build/bench-results", metavar="DIR")
    options = parser.parse_args()
    results.require_program(options.program)
    results.warn_if_busy()
    command = [str(options.program), "--rounds", str(options.rounds)]
    machine = results.machine()
    shown = results.shown(command)
    record = {"machine": machine, "command": shown, **json.loads(results.run(command))}
    results.write(options.output, "matrix_products", record,
                  f"{results.describe(record)}\n\n    {shown}\n\n{render(record)}")


if __name__ == "__main__":
    main()

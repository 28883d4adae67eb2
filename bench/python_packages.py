#!/usr/bin/env python3
"""Measures halfback.torch beside PyTorch's pipelining: the halves of a backward alone, and steps of its runtime over two processes."""

import argparse
import json
import os
import pathlib

import results


def ratio(part, ours, others):
    """Quartiles of the ratio of a time to the other's, in the same round."""
    return results.spread(results.quartiles([part(one) / part(other) for one, other in zip(ours, others, strict=True)]), 2)


def kibibytes(count):
    return f"{count / 1024:.0f}"


def halves_table(record):
    backward = lambda one: one["i"] + one["w"]  # noqa: E731
    rows = []
    for row in record["rows"]:
        seconds = row["seconds"]
        rows.append([
            f"{row['width']}, {row['length']}, {row['blocks']}",
            *(ratio(backward, seconds[name], seconds["eager"]) for name in ("torch", "ours")),
            *(ratio(lambda one: one["f"], seconds[name], seconds["eager"]) for name in ("torch", "ours")),
            kibibytes(row["kept"]["ours"]), *(kibibytes(row["held"][name]) for name in ("torch", "ours")),
            f"{row['held']['ours'] / row['held']['torch']:.2f}"])
    return results.table(["width, length, blocks", "(I + W) / B, PyTorch", "(I + W) / B, Halfback", "F, PyTorch", "F, Halfback",
                          "kept by F, KiB", "held after I, PyTorch", "held after I, Halfback", "ratio"], rows)


def stages_table(record):
    rows = []
    for row in record["rows"]:
        theirs, ours = row["steps"]["torch"], row["steps"]["ours"]
        milliseconds = lambda steps: results.spread(results.quartiles([one["wall"] * 1e3 for one in steps]), 1)  # noqa: E731
        rows.append([row["family"], row["width"], milliseconds(theirs), milliseconds(ours),
                     ratio(lambda one: one["wall"], ours, theirs), ratio(lambda one: sum(one["cpu"]), ours, theirs)])
    return results.table(["schedule", "width", "PipelineStage, ms", "SplitStage, ms", "wall, ratio", "CPU, ratio"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40, help="measured rounds; half as many steps (default %(default)s)")
    parser.add_argument("--python", type=pathlib.Path, default=results.ROOT / "build/python/venv/bin/python",
                        help="with both packages, as ./hb python makes it")
    parser.add_argument("--output", type=pathlib.Path, default=results.ROOT / "build/bench-results", metavar="DIR")
    options = parser.parse_args()
    if not os.access(options.python, os.X_OK):
        results.fail(f"{options.python} is missing; './hb python' makes it")
    results.warn_if_busy()
    machine = results.machine()
    os.environ["OMP_NUM_THREADS"] = "1"
    peers = results.ROOT / "bench/peers"
    alone = [str(options.python), str(peers / "halves.py"), "--rounds", str(options.rounds)]
    together = [str(options.python), "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(peers / "stages.py"),
                "--rounds", str(max(1, options.rounds // 2))]
    halves, stages = json.loads(results.run(alone)), json.loads(results.run(together))
    commands = [f"bench/run {pathlib.Path(__file__).stem}"]
    record = {"machine": machine, "commands": commands, "torch": halves["torch"], "rounds": halves["rounds"],
              "warmup_rounds": halves["warmup_rounds"], "halves": halves["rows"], "stages": stages["rows"],
              "tables": {"halves": halves_table(halves), "stages": stages_table(stages)}}
    results.write(options.output, "python_packages", record,
                  f"{results.describe(record)}\n\n{record['tables']['halves']}\n{record['tables']['stages']}")


if __name__ == "__main__":
    main()

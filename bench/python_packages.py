#!/usr/bin/env python3
"""Measures halfback.torch beside PyTorch's pipelining: the halves of a backward alone, steps of its runtime, and whole models."""

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


def milliseconds(steps):
    return results.spread(results.quartiles([one["wall"] * 1e3 for one in steps]), 1)


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
        rows.append([row["family"], row["width"], milliseconds(theirs), milliseconds(ours),
                     ratio(lambda one: one["wall"], ours, theirs), ratio(lambda one: sum(one["cpu"]), ours, theirs)])
    return results.table(["schedule", "width", "PipelineStage, ms", "SplitStage, ms", "wall, ratio", "CPU, ratio"], rows)


def fastest(steps):
    """The schedule whose median step is the shortest."""
    return min(steps, key=lambda name: results.quartiles([one["wall"] for one in steps[name]])[1])


def pipelines_table(record):
    """Ratios are PyTorch's times over ours: above 1, ours is faster."""
    rows = []
    for row in record["rows"]:
        torch, kinds = row["steps"]["torch"], (row["steps"]["processes"], row["steps"]["threads"])
        best = [fastest(steps) for steps in (torch, *kinds)]
        chosen = [(name, [name if name in torch else None, name, name]) for name in kinds[0]]
        for title, (their_name, *our_names) in [*chosen, (f"fastest: {', '.join(best)}", best)]:
            theirs = torch.get(their_name)
            cells = [row["width"], title, milliseconds(theirs) if theirs else "-"]
            for steps, name in zip(kinds, our_names, strict=True):
                cells += [milliseconds(steps[name]), ratio(lambda one: one["wall"], theirs, steps[name]) if theirs else "-",
                          ratio(lambda one: sum(one["cpu"]), theirs, steps[name]) if theirs else "-"]
            rows.append(cells)
    return results.table(["width", "schedule", "PyTorch, ms", "Pipeline, ms", "wall, PyTorch / Pipeline", "CPU, PyTorch / Pipeline",
                          "threads, ms", "wall, PyTorch / threads", "CPU, PyTorch / threads"], rows)


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
    half = ["--rounds", str(max(1, options.rounds // 2))]
    together = [str(options.python), "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    halves = json.loads(results.run(alone))
    stages, pipelines = (json.loads(results.run([*together, str(peers / name), *half])) for name in ("stages.py", "pipelines.py"))
    commands = [f"bench/run {pathlib.Path(__file__).stem}"]
    record = {"machine": machine, "commands": commands, "torch": halves["torch"], "rounds": halves["rounds"],
              "warmup_rounds": halves["warmup_rounds"], "halves": halves["rows"], "stages": stages["rows"],
              "pipelines": pipelines["rows"],
              "tables": {"halves": halves_table(halves), "stages": stages_table(stages), "pipelines": pipelines_table(pipelines)}}
    results.write(options.output, "python_packages", record,
                  "\n".join([results.describe(record) + "\n", *record["tables"].values()]))


if __name__ == "__main__":
    main()

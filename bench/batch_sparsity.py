#!/usr/bin/env python3
"""Runs the studies of batch size and sparsity, and measures the time to the result of one process and of two.

Steps to the result are the least over trials of learning rates; a study that was stopped goes on. The time of a batch size is its
steps times the median step of a run over as many processes, each with half of the batch.
"""

import argparse
import csv
import json
import math
import pathlib
import re
import statistics
import tempfile

import results
import studies

STUDIES = ("batch_sparsity", "batch_sparsity_momentum", "smoothness")
MEASURED_STEPS, SKIPPED_STEPS = 100, 10
REGIMES = {"halves": -0.8, "falls": -0.2}  # slopes of log steps over log batch that bound the three regimes


def steps_to_result(rows):
    """Of each optimizer and sparsity: batch, interval over the seeds, n."""
    best = {}
    for row in rows:
        at = studies.place(row)
        if row["status"] == "complete":
            key = (at.get("optimizer", "SGD"), at["sparsity"], int(at["batch-size"]))
            seeds = best.setdefault(key, {})
            seeds[at["seed"]] = min(row["steps"], seeds.get(at["seed"], row["steps"]))
    found = {}
    for (optimizer, sparsity, batch), seeds in sorted(best.items()):
        found.setdefault((optimizer, sparsity), []).append([batch, *studies.interval(list(seeds.values())), len(seeds)])
    return [{"optimizer": optimizer, "sparsity": sparsity, "points": points} for (optimizer, sparsity), points in found.items()]


def slopes(points):
    """Between neighboring batch sizes: log steps over log batch."""
    return [math.log(after[2] / before[2]) / math.log(after[0] / before[0]) for before, after in zip(points, points[1:])]


def regimes(points):
    """The last batch size up to which steps nearly halve as it doubles, and the first from which they hardly fall."""
    found = slopes(points)
    perfect = next((points[i][0] for i, slope in enumerate(found) if slope > REGIMES["halves"]), points[-1][0])
    floor = next((points[i][0] for i in range(len(found)) if all(slope > REGIMES["falls"] for slope in found[i:])), None)
    return perfect, floor


def render_steps(lines):
    batches = sorted({point[0] for line in lines for point in line["points"]})
    table = []
    for line in lines:
        at = {point[0]: point for point in line["points"]}
        perfect, floor = regimes(line["points"])
        table.append([line["optimizer"], line["sparsity"], *(f"{at[batch][2]:.0f}" if batch in at else "" for batch in batches),
                      f"to {perfect}", f"from {floor}" if floor else "not reached", line["points"][0][4]])
    return results.table(["", "sparsity", *(f"B = {batch}" for batch in batches), "halves", "hardly falls", "n"], table)


def render_fits(folders):
    lines = []
    for folder in folders:
        path = folder / "fits.csv"
        for row in csv.DictReader(path.open(newline="")) if path.exists() else []:
            value = {name: f"{float(text):.3g}" if text else "" for name, text in row.items() if name not in ("optimizer", "sparsity", "batches")}
            lines.append([row.get("optimizer", "SGD"), row["sparsity"], f"{value['c1']} ({value['c1 low']} - {value['c1 high']})",
                          f"{value['c2']} ({value['c2 low']} - {value['c2 high']})", value["R^2"], value["first slope"], value["knee"],
                          value["c1 / dense"], value["c2 / dense"]])
    return results.table(["", "sparsity", "c1", "c2", "R²", "first slope", "knee", "c1 / dense", "c2 / dense"], lines)


def render_smoothness(rows):
    found = {}
    for row in rows:
        found.setdefault(studies.place(row)["sparsity"], []).append(row["lipschitz"])
    dense = statistics.median(found["0"])
    return results.table(["sparsity", "L, mean over the run", "over dense", "n"], [
        [sparsity, results.spread(studies.interval(values)), f"{statistics.median(values) / dense:.2f}", len(values)]
        for sparsity, values in found.items()])


def step_milliseconds(halfback, row, processes):
    """The median step of the run of a row, over one process or two."""
    words = [word for word in row["command"].split()[1:] if not re.match(r"--(steps|evaluate-every|sparsity|prune-samples)=", word)]
    with tempfile.TemporaryDirectory() as report:
        more = ["--steps", str(MEASURED_STEPS), "--evaluate-every", "0", "--report", f"{report}/report"]
        if processes > 1:
            more += ["--processes", str(processes), "--data-parallel", str(processes)]
        results.run([str(halfback), *words, *more], results.ROOT)
        lines = pathlib.Path(report, "report", "metrics.jsonl").read_text().splitlines()
    return 1e3 * statistics.median(json.loads(line)["seconds"] for line in lines[SKIPPED_STEPS:])


def measure_times(halfback, rows, lines):
    """Of the dense network: batch, steps, and seconds to the result of one process and of two."""
    by_batch = {studies.place(row)["batch-size"]: row for row in rows if studies.place(row)["sparsity"] == "0"}
    dense = next(line for line in lines if (line["optimizer"], line["sparsity"]) == ("SGD", "0"))
    times = []
    for batch, _, steps, _, _ in dense["points"]:
        row = by_batch[str(batch)]
        step = [step_milliseconds(halfback, row, processes) if batch >= processes else None for processes in (1, 2)]
        times.append([batch, steps, *(value and value * steps / 1e3 for value in step)])
        results.progress(len(times), len(dense["points"]), "time of batch sizes:")
    return times


def render_times(times):
    return results.table(["batch size", "steps", "seconds, 1 process", "seconds, 2 processes", "gain"], [
        [batch, f"{steps:.0f}", f"{one:.3g}", f"{two:.3g}" if two else "", f"{one / two:.2f}" if two else ""] for batch, steps, one, two in times])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--halfback", type=pathlib.Path, default=results.ROOT / "build/bench/cli/halfback", metavar="PROGRAM")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("build/bench-results"), metavar="DIR")
    parser.add_argument("--rounds", type=int, help="of other parts; here: all studies with few steps and 2 seeds")
    options = parser.parse_args()
    results.require_program(options.halfback)
    machine = results.machine()
    found = studies.run_all(STUDIES, options)
    lines = [line for name in STUDIES[:2] for line in steps_to_result(found[name]["rows"])]
    times = measure_times(options.halfback.resolve(), found["batch_sparsity"]["rows"], lines)
    tables = {"steps": render_steps(lines), "fits": render_fits([found[name]["folder"] for name in STUDIES[:2]]),
              "smoothness": render_smoothness(found["smoothness"]["rows"]), "times": render_times(times)}
    record = {"machine": machine, "lines": lines, "times": times, "tables": tables, "commands": [found[name]["command"] for name in STUDIES]}
    results.write(options.output, "batch_sparsity", record, "\n".join(tables.values()))


if __name__ == "__main__":
    main()

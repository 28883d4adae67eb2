#!/usr/bin/env python3
"""Writes benchmarks.md, which is benchmarks.md.in with the last results and a table of aims, and the results between the
markers of two_stage_backpropagation.md, running.md and local_updates.md.

A part without results yet says so.
"""

import argparse
import json
import pathlib
import re

import results

MISSING = "Not measured yet: `bench/run`.\n"
# Parts with tables of their own: the document, and what the names of their markers begin with.
FILLED = {"two_stage": ("two_stage_backpropagation.md", ""), "processes": ("running.md", ""), "local": ("local_updates.md", ""),
          "studies": ("local_updates.md", "studies_"), "batch_sparsity": ("batch_and_sparsity.md", ""),
          "python_packages": ("python.md", "python-")}
PARTS = ("peers", "matrix_products", "predictions", "split_cost", "schedule_scale", "fashion_mnist")


def load(folder, name):
    path = folder / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def verdict(holds):
    return "reached" if holds else "**missed**"


def two_stage_aims(record):
    if not record:
        return
    rows = [row for row in record["models"] if not row["emulated"]]
    for model in dict.fromkeys(row["model"] for row in rows):
        mine = [row for row in rows if row["model"] == model]
        off = max(abs(row["predicted_speed_up"] / row["speed_up"] - 1) for row in mine if row["two_stage"])
        ratio = max(row["step_over_simulated"] for row in mine)
        name = f"2 ranks, {model}, worst of 4 schedules"
        yield f"{name}: predicted gain off the measured one by", "at most 3 %", f"{off:.1%}", verdict(off <= 0.03)
        yield f"{name}, off and on: step over simulated", "at most 1.02", f"{ratio:.3f}", verdict(ratio <= 1.02)
    best = max(record["many_chunks"], key=lambda row: row["speed_up"])
    yield (f"N = M = 4, {best['stages_per_rank']} stages a rank: over 1f1b-1 off (emulated)", "at least 1.60",
           f"{best['speed_up']:.3f}", verdict(best["speed_up"] >= 1.6))


def peer_aims(record):
    wanted = (("halfback-1", "eager-2", 1.0), ("halfback-2-on", "eager-2", 1.25), ("halfback-2-on", "pipelining", 1.5),
              ("halfback-1-bf16", "eager-2-bf16", 1.6), ("halfback-2-on-bf16", "eager-2-bf16", 1.6))
    for contestant, peer, least in wanted:
        for size in record["sizes"] if record else []:
            row = next((row for row in size["rows"] if row["contestant"] == contestant), None)
            if row and peer in row["ratios"]:
                ratio = row["ratios"][peer]
                title = next(row["title"] for row in size["rows"] if row["contestant"] == peer)
                yield (f"{size['size'].replace('-', ', M = ')}: {row['title']} over {title}", f"at least {least}",
                       results.spread(ratio), verdict(ratio[1] >= least))


def split_aims(record):
    for row in record["rows"] if record else []:
        aim = 1.0 if row.get("is_model") else 1.05 if row["layer"] == "AutogradLayer" and row["size"] == "medium" else None
        if aim is not None:
            yield (f"{row['size']}, {row['layer']}: (I + W) / B", f"at most {aim}", results.spread(row["ratio"]),
                   verdict(row["ratio"][1] <= aim))


def prediction_aims(record):
    if record:
        found = record["distribution"]
        yield (f"2 ranks, {found['count']} schedules: error of the simulator, 90th percentile", "at most 3 %",
               f"{found['p90']:.1%}", verdict(found["p90"] <= 0.03))


def scale_aims(record):
    rows = {(row["ranks"], row["micro_batches"]): row for row in record["rows"]} if record else {}
    row = rows.get((1024, 4096))
    if row is None:
        return
    name = f"{row['actions'] / 1e6:.1f} million actions, 1024 ranks"
    for phase, seconds in row["seconds"].items():
        best = min(seconds)
        yield (f"{name}: {phase.replace('_', ' ')}", "under 2 s", f"{best:.2f} s", verdict(best < 2.0))
    gibibytes = row["peak_bytes"] / 2**30
    yield f"{name}: memory of the process", "under 4 GiB", f"{gibibytes:.2f} GiB", verdict(gibibytes < 4.0)


def local_aims(record):
    for what, aim, found, holds in record["aims"] if record else []:
        if aim:
            yield what, aim, found, verdict(holds)


def write_benchmarks(folder, output, records):
    """A part without results says so. If no part has any, the page of other runs stays."""
    if not any(records.values()):
        return
    aims = [*peer_aims(records["peers"]), *two_stage_aims(load(folder, "two_stage")), *prediction_aims(records["predictions"]),
            *split_aims(records["split_cost"]), *scale_aims(records["schedule_scale"]), *local_aims(load(folder, "local"))]
    text = (results.ROOT / "bench/benchmarks.md.in").read_text()
    text = text.replace("@aims@\n", results.table(["what", "aim", "found", ""], aims) if aims else MISSING)
    for name, record in records.items():
        part = (folder / f"{name}.md").read_text() if record else MISSING
        text = text.replace(f"@{name}@\n", part)
    (output / "benchmarks.md").write_text(text)
    print("wrote benchmarks.md")


def fill(path, record, prefix):
    """Puts the measurements between the markers of each table; the text around them is written by hand."""
    text = path.read_text()
    commands = "".join(f"    {command}\n" for command in record["commands"])
    tables = {"machine": f"{results.describe(record)}.\n", "commands": commands, **record["tables"]}
    for name, table in tables.items():
        name = prefix + name
        text, count = re.subn(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", lambda found: f"{found[1]}{table}{found[2]}", text,
                              flags=re.DOTALL)
        if count != 1:
            results.fail(f"{path.name}: {count} places between <!-- {name} --> and <!-- /{name} -->; expected 1")
    path.write_text(text)
    print(f"wrote {path.name}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=pathlib.Path, default=results.ROOT / "build/bench-results", metavar="DIR")
    parser.add_argument("--output", type=pathlib.Path, default=results.ROOT / "docs", metavar="DIR")
    options = parser.parse_args()
    write_benchmarks(options.results, options.output, {name: load(options.results, name) for name in PARTS})
    for part, (document, prefix) in FILLED.items():
        if record := load(options.results, part):
            fill(options.output / document, record, prefix)


if __name__ == "__main__":
    main()

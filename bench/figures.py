#!/usr/bin/env python3
"""Draws the figures of docs/two_stage_backpropagation.md and docs/local_updates.md and docs/batch_and_sparsity.md from
the last results of bench/two_stage.py, bench/studies.py and bench/batch_sparsity.py."""

import argparse
import json
import pathlib

import matplotlib
import matplotlib.pyplot as plt

import results

matplotlib.use("svg")
# Files differ only where figures do.
plt.rcParams.update({"svg.hashsalt": "halfback", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
                     "axes.axisbelow": True, "axes.grid": True, "axes.grid.axis": "y", "grid.alpha": 0.3})
SCHEDULES = ["naive", "gpipe", "1f1b-1", "1f1b-2"]
OFF, ON, PREDICTED, UNIT = "#9aa5b1", "#1f6feb", "#d9822b", "#30363d"


def save(figure, folder, name):
    path = folder / f"{name}.svg"
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    print(f"wrote {path.name}")


def clock_of(row):
    return "emulated" if row["emulated"] else "wall clock"


def draw_gains(record):
    """Gain of every model and schedule: measured, predicted from its own costs, and for F = I = W = 1."""
    rows = [row for row in record["models"] if row["two_stage"]]
    counts = sorted({row["ranks"] for row in rows})
    models = list(dict.fromkeys(row["model"] for row in rows))
    figure, grid = plt.subplots(len(counts), len(models), figsize=(10, 2.2 * len(counts)), sharey=True, squeeze=False)
    for line, count in zip(grid, counts):
        for axes, model in zip(line, models):
            found = {row["schedule"]: row for row in rows if row["ranks"] == count and row["model"] == model}
            places = range(len(SCHEDULES))
            taken = [found[name] for name in SCHEDULES]
            axes.bar([place - 0.2 for place in places], [row["speed_up"] for row in taken], 0.4, color=ON, label="measured")
            axes.bar([place + 0.2 for place in places], [row["predicted_speed_up"] for row in taken], 0.4, color=PREDICTED,
                     label="predicted from measured costs")
            axes.scatter(places, [row["unit_speed_up"] for row in taken], marker="_", s=300, color=UNIT, zorder=3,
                         label="F = I = W = 1")
            axes.axhline(1.0, color=UNIT, linewidth=0.8)
            axes.set_xticks(places, SCHEDULES, rotation=20)
            axes.set_ylim(0.8, 1.6)
            axes.set_title(f"{model}, N = {count}, {clock_of(taken[0])}", fontsize=9)
        line[0].set_ylabel("step off / step on")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, ncol=3, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    figure.tight_layout()
    return figure


def draw_memory(record):
    """Bytes of micro-batches in flight on every rank of the LLaMA-like model on 4 ranks, off and on."""
    found = [row for row in record["models"] if row["ranks"] == 4 and row["model"] == "LLaMA"]
    figure, line = plt.subplots(1, len(SCHEDULES), figsize=(10, 2.4), sharey=True)
    for axes, name in zip(line, SCHEDULES):
        for row in (row for row in found if row["schedule"] == name):
            shift, color = (0.2, ON) if row["two_stage"] else (-0.2, OFF)
            axes.bar([rank + shift for rank in range(4)], [count / 2**20 for count in row["activation_bytes"]], 0.4,
                     color=color, label="2BP on" if row["two_stage"] else "2BP off")
        axes.set_xticks(range(4), [f"rank {rank}" for rank in range(4)])
        axes.set_title(name, fontsize=9)
    line[0].set_ylabel("activations, MiB")
    line[0].legend(frameon=False)
    figure.tight_layout()
    return figure


def draw_scaling(record):
    """Gain over the number of ranks, beside the closed form (6N - 3) / (4N - 1)."""
    found = [row for row in record["scaling"] if row["two_stage"]]
    counts = [row["ranks"] for row in found]
    figure, axes = plt.subplots(figsize=(5, 3))
    axes.plot(counts, [row["unit_speed_up"] for row in found], "--", color=UNIT, label="F = I = W = 1")
    axes.plot(counts, [row["predicted_speed_up"] for row in found], "s-", color=PREDICTED,
              label="predicted from measured costs")
    axes.plot(counts, [row["speed_up"] for row in found], "o-", color=ON, label="measured")
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [f"{row['ranks']}\n{clock_of(row)}" for row in found])
    axes.set_xlabel("ranks")
    axes.set_ylabel("step off / step on")
    axes.legend(frameon=False)
    return figure


def title_of(row):
    """Describes a row of the effects in a few words."""
    if not row["two_stage"]:
        return "2BP off"
    name = row["schedule"].removeprefix("1f1b-2-")
    return row["effect"].replace("memory savers", name)


def draw_effects(record):
    """What each policy costs and saves on 4 ranks: the step, and the bytes of the rank that holds most."""
    families = ("1f1b-1", "1f1b-2")
    rows = {family: [row for row in record["effects"] if row["schedule"].startswith(family)] for family in families}
    figure, grid = plt.subplots(2, 2, figsize=(9, 6.5), sharey="row", height_ratios=[len(rows[one]) for one in families])
    for line, family in zip(grid, families):
        found = rows[family]
        colors = [ON if row["two_stage"] else OFF for row in found]
        steps = [row["step_seconds"] * 1e3 for row in found]
        peaks = [max(row["activation_bytes"]) / 2**20 for row in found]
        for axes, values, label in ((line[0], steps, "step, ms"), (line[1], peaks, "activations of the fullest rank, MiB")):
            bars = axes.barh(range(len(found)), values, 0.7, color=colors)
            axes.bar_label(bars, fmt="%.0f", padding=2, fontsize=7)
            axes.grid(visible=False)
            axes.set_xlabel(label)
        line[0].set_yticks(range(len(found)), [title_of(row) for row in found])
        line[0].invert_yaxis()
        line[0].set_title(f"{family}, N = 4, {clock_of(found[0])}", fontsize=9, loc="left")
    figure.tight_layout()
    return figure


def draw_many_chunks(record):
    """The step at N = M = 4 over 1F1B's without 2BP, as the stages on a rank grow, beside 12 + 3/v units of 21."""
    found = [row for row in record["many_chunks"]]
    names = [f"{row['schedule']}\n{'on' if row['two_stage'] else 'off'}, v = {row['stages_per_rank']}" for row in found]
    figure, axes = plt.subplots(figsize=(6.5, 3))
    axes.bar(range(len(found)), [row["speed_up"] for row in found], 0.5,
             color=[ON if row["two_stage"] else OFF for row in found], label="measured")
    axes.scatter(range(len(found)), [21 / row["unit_step"] for row in found], marker="_", s=500, color=UNIT, zorder=3,
                 label="F = I = W = 1")
    axes.set_xticks(range(len(found)), names)
    axes.set_ylabel("1f1b-1 off / step")
    axes.set_title(f"N = M = 4, {clock_of(found[0])}", fontsize=9)
    axes.legend(frameon=False, loc="upper left")
    return figure


def band(axes, steps, triples, color, label):
    low, middle, high = zip(*triples)
    axes.fill_between(steps, low, high, color=color, alpha=0.2, linewidth=0)
    axes.plot(steps, middle, color=color, label=label)


def draw_cosines(record):
    """Ours by layer, and what the paper's figure shows."""
    ours, theirs = record["curves"]["cosines"], record["published"]["cosines"]
    figure, axes = plt.subplots(figsize=(7, 3.6))
    for i, (layer, published) in enumerate(zip(ours["layers"], theirs["layers"])):
        color = f"C{i}"
        band(axes, ours["steps"], layer, color, f"layer {i + 1}")
        axes.plot(theirs["steps"], published, color=color, linestyle=":", marker=".", markersize=4)
    axes.plot([], [], color=UNIT, linestyle=":", marker=".", label="published (read off a plot)")
    axes.set_xlabel("step")
    axes.set_ylabel("cosine with backprop's gradient")
    axes.set_title(f"greedy training: median and range of {ours['n']} seeds", fontsize=9)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def draw_random_labels(record):
    ours, theirs = record["curves"]["random_labels"], record["published"]["random_labels"]
    epoch = record["curves"]["epoch_steps"]
    figure, axes = plt.subplots(figsize=(7, 3.6))
    for i, (scheme, curve) in enumerate(ours.items()):
        band(axes, [step / epoch for step in curve["steps"]], curve["values"], f"C{i}", scheme)
    for name, marker in (("backprop", "o"), ("local", "s")):
        axes.plot(theirs["epochs"], theirs[name], color=UNIT, linestyle=":", marker=marker, markersize=3, label=f"published: {name}")
    axes.set_xlabel("epoch")
    axes.set_ylabel("accuracy on the training images")
    axes.set_title(f"random labels: median and range of {next(iter(ours.values()))['n']} seeds", fontsize=9)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def draw_fronts(record):
    """Steps over the batch size, and compute against ideal time, to one accuracy; None if that study has not ended."""
    if "scaling" not in record["curves"]:
        return None
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8))
    for i, (scheme, points) in enumerate(record["curves"]["scaling"].items()):
        batches = [int(point[0]) for point in points]
        band(left, batches, [point[1:4] for point in points], f"C{i}", scheme)
        costs = sorted(point[2:4] for point in record["curves"]["costs"] if point[0] == scheme)
        right.plot(*zip(*costs), color=f"C{i}", marker=".", label=scheme)
    for axes in (left, right):
        axes.set_xscale("log", base=2 if axes is left else 10)
        axes.set_yscale("log")
    left.set_xlabel("samples in a step")
    left.set_ylabel("steps to the accuracy")
    right.set_xlabel("FLOPs to the accuracy")
    right.set_ylabel("FLOPs one after the other")
    right.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.tight_layout()
    return figure


def draw_steps(record):
    """Steps to the result over the batch size, by sparsity, and the time of one process and two."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8))
    for i, line in enumerate(line for line in record["lines"] if line["optimizer"] == "SGD"):
        points = line["points"]
        band(left, [point[0] for point in points], [point[1:4] for point in points], f"C{i}", f"sparsity {line['sparsity']}")
        left.plot(points[0][0], points[0][2], color=f"C{i}", marker=".")
    first = next(line for line in record["lines"] if (line["optimizer"], line["sparsity"]) == ("SGD", "0"))["points"]
    left.plot([point[0] for point in first], [first[0][2] * first[0][0] / point[0] for point in first], color=UNIT, linestyle=":",
              label="halves as the batch doubles")
    for place, name in ((2, "1 process"), (3, "2 processes")):
        times = [(row[0], row[place]) for row in record["times"] if row[place]]
        right.plot(*zip(*times), marker=".", label=name)
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlabel("batch size")
        axes.legend(frameon=False)
    left.set_ylabel("steps to the accuracy")
    right.set_ylabel("seconds to the accuracy")
    figure.tight_layout()
    return figure


FIGURES = {"two_stage": {"gains": draw_gains, "memory": draw_memory, "scaling": draw_scaling, "effects": draw_effects,
                         "many_chunks": draw_many_chunks},
           "studies": {"cosines": draw_cosines, "random_labels": draw_random_labels, "fronts": draw_fronts},
           "batch_sparsity": {"steps": draw_steps}}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=pathlib.Path, default=results.ROOT / "build/bench-results", metavar="DIR")
    parser.add_argument("--output", type=pathlib.Path, default=results.ROOT / "docs", metavar="DIR")
    options = parser.parse_args()
    for part, figures in FIGURES.items():
        path = options.results / f"{part}.json"
        if path.exists():
            record = json.loads(path.read_text())
            for name, draw in figures.items():
                if figure := draw(record):
                    save(figure, options.output, f"{part}_{name}")


if __name__ == "__main__":
    main()

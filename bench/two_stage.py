#!/usr/bin/env python3
"""Measures two-stage backpropagation (2BP) off and on: models, schedules, numbers of ranks, and each effect by itself.

Runs `halfback compare --json` for every table. Up to the number of cores its times are wall clock; beyond, it replays
the CPU time of each action (emulated). The closed forms are those for F = I = W = 1 and no communication.
"""

import argparse
import json
import os
import pathlib
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
MODELS = {
    "LLaMA": ["--model", "llama"],
    "BERT": ["--model", "bert", "--rms-norm", "--sinusoid-positions"],
    "Mamba": ["--model", "mamba"],
    "ResNet": ["--model", "resnet", "--depth", "50", "--width", "32", "--micro-batch-size", "8"],
}
SCALING = ["--model", "llama", "--layers", "16", "--width", "128", "--hidden", "344"]
MANY_CHUNKS = ["--ranks", "4", "--model", "llama", "--layers", "32", "--width", "512", "--hidden", "1376",
               "--sequence", "256", "--micro-batch-size", "2"]
EFFECTS = (  # title, schedules, options
    ("W looped", ["gpipe", "1f1b-1", "1f1b-2"], []),
    ("W concatenated", ["gpipe", "1f1b-1", "1f1b-2"], ["--weight-gradients", "concatenated"]),
    ("W looped, memory savers", ["1f1b-2-flush", "1f1b-2-capped"], []),
    ("W concatenated, memory savers", ["1f1b-2-flush", "1f1b-2-capped"], ["--weight-gradients", "concatenated"]),
    ("gradients recomputed", ["1f1b-1", "1f1b-2"], ["--recompute-gradients"]),
    ("attention recomputed", ["1f1b-1", "1f1b-2"], ["--recompute", "attention"]),
    ("feed-forward recomputed", ["1f1b-1", "1f1b-2"], ["--recompute", "feed-forward"]),
    ("blocks recomputed", ["1f1b-1", "1f1b-2"], ["--recompute", "block"]),
    ("blocks and gradients recomputed", ["1f1b-1", "1f1b-2"], ["--recompute", "block", "--recompute-gradients"]),
)


class Compare:
    """Runs `halfback compare`; each row keeps the command as one would type it."""

    def __init__(self, options):
        self.options = options

    def __call__(self, schedules, arguments):
        command = [str(self.options.halfback), "compare", "--json", "--schedules", ",".join(schedules),
                   "--rounds", str(self.options.rounds), "--warmup-rounds", str(self.options.warmup_rounds), *arguments]
        shown = results.shown(command)
        return [{**row, "command": shown} for row in json.loads(self.run(command))]

    def run(self, command):
        print("==>", *command[1:], file=sys.stderr)
        return results.run(command, folder=results.ROOT)


def measure_models(compare, ranks, models):
    rows = []
    for count in ranks:
        for model in models:
            arguments = MODELS[model]
            for row in compare(SCHEDULES, ["--ranks", str(count), *arguments]):
                unit = UNIT_GAIN[row["schedule"]](count) if row["two_stage"] else 1.0
                rows.append({"model": model, "unit_speed_up": unit, **row})
    return rows


def merged(rows, models, measured):
    """The rows of the models that were not measured again, and those that were, in the order of MODELS."""
    rows = [row for row in rows if row["model"] not in models] + measured
    return sorted(rows, key=lambda row: (row["ranks"], list(MODELS).index(row["model"])))


def measure_scaling(compare, ranks):
    rows = []
    for count in ranks:
        for row in compare(["1f1b-1"], ["--ranks", str(count), *SCALING]):
            rows.append({"unit_speed_up": UNIT_GAIN["1f1b-1"](count) if row["two_stage"] else 1.0, **row})
    return rows


def measure_effects(compare):
    """On 4 ranks, beside 1F1B with the backward unsplit and nothing else."""
    rows = []
    for title, schedules, arguments in EFFECTS:
        found = compare(schedules, ["--ranks", "4", "--model", "llama", *arguments])
        rows += [{"effect": title, **row} for row in found if row["two_stage"] or title == EFFECTS[0][0]]
    return rows


def measured_costs(compare, arguments):
    """F, I and W of an inner stage, over F, as --cost takes them."""
    profile = json.loads(compare.run([str(compare.options.halfback), "profile", "--json", *arguments]))
    stage = profile["stages"][1]
    return ",".join(f"{stage[kind] / stage['forward']:.3f}" for kind in ("forward", "input", "weight"))


def measure_many_chunks(compare, folder):
    """The smallest step at N = M = 4 with one replica: v stages on each rank, 12 + 3/v units instead of 21. The search finds
    orders for the costs that the model has."""
    arguments = [*MANY_CHUNKS, "--micro-batches", "4"]
    costs = measured_costs(compare, MANY_CHUNKS)
    rows = [{"stages_per_rank": 1, "unit_step": 15.0 if row["two_stage"] else 21.0, **row}
            for row in compare(["1f1b-1"], arguments)]
    for stages in (2, 4, 8):
        path = folder / f"zb-looped-{stages}.csv"
        order = ["schedule", "zb-looped", "--ranks", "4", "--micro-batches", "4", "--stages-per-rank", str(stages),
                 "--cost", costs, "--format", "csv"]
        path.write_text(compare.run([str(compare.options.halfback), *order]))
        shown = os.path.relpath(path, results.ROOT)
        for row in compare([shown], arguments):
            row["command"] = f"halfback {' '.join(order)} > {shown} && {row['command']}"
            rows.append({"stages_per_rank": stages, "unit_step": 12 + 3 / stages, **row, "schedule": "zb-looped"})
    for row in rows:
        row["speed_up"] = rows[0]["step_seconds"] / row["step_seconds"]
    return rows


def mebibytes(count):
    return f"{count / 2**20:.1f}"


def step(row):
    return f"{row['step_seconds'] * 1e3:.1f} ± {row['spread_seconds'] * 1e3:.1f}"


def per_second(row):
    return f"{row.get('tokens_per_second', row.get('images_per_second')):.0f}"


def memory(row):
    return ", ".join(mebibytes(count) for count in row["activation_bytes"])


def checks(row):
    predicted = row["activation_bytes"] == row["predicted_activation_bytes"]
    return ["yes" if predicted else "no", "yes" if row["bit_equal"] else "no"]


def gains(row):
    names = ("speed_up", "predicted_speed_up", "unit_speed_up")
    return [f"{row[name]:.3f}" if row["two_stage"] else "" for name in names]


def render_models(rows):
    text = []
    for count in sorted({row["ranks"] for row in rows}):
        found = [row for row in rows if row["ranks"] == count]
        clock = "emulated" if found[0]["emulated"] else "wall clock"
        lines = [[row["model"], row["schedule"], row["micro_batches"], "on" if row["two_stage"] else "off", step(row),
                  per_second(row), *gains(row), f"{row['step_over_simulated']:.3f}", f"{row['bubble_fraction']:.3f}",
                  memory(row), *checks(row)] for row in found]
        text.append(f"### {count} ranks, {clock}\n\n" + results.table(
            ["model", "schedule", "M", "2BP", "step ms", "tokens/s, images/s", "gain", "predicted", "unit costs",
             "step/simulated", "bubble", "activations of each rank, MiB", "as predicted", "bit-equal"], lines))
    return "\n".join(text)


def render_scaling(rows):
    return results.table(
        ["N", "2BP", "step ms", "gain", "predicted", "unit costs", "bubble", "bit-equal", "time"],
        [[row["ranks"], "on" if row["two_stage"] else "off", step(row), *gains(row), f"{row['bubble_fraction']:.3f}",
          checks(row)[1], "emulated" if row["emulated"] else "wall clock"] for row in rows])


def render_effects(rows):
    lines = []
    for row in rows:
        base = next(one for one in rows if not one["two_stage"] and
                    one["schedule"] == "-".join(row["schedule"].split("-")[:2]))
        lines.append([row["schedule"], row["effect"] if row["two_stage"] else "2BP off", step(row),
                      f"{base['step_seconds'] / row['step_seconds']:.3f}", memory(row), *checks(row)])
    lines.sort(key=lambda line: SCHEDULES.index("-".join(line[0].split("-")[:2])))
    return results.table(["schedule", "what", "step ms", "gain over 2BP off", "activations of each rank, MiB",
                          "as predicted", "bit-equal"], lines)


def render_many_chunks(rows):
    return results.table(
        ["schedule", "stages a rank", "2BP", "step ms", "gain", "step for unit costs", "its gain", "bubble", "bit-equal"],
        [[row["schedule"], row["stages_per_rank"], "on" if row["two_stage"] else "off", step(row),
          f"{row['speed_up']:.3f}", f"{row['unit_step']:g}", f"{21 / row['unit_step']:.3f}",
          f"{row['bubble_fraction']:.3f}", checks(row)[1]] for row in rows])


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="models,scaling,effects,many_chunks",
                        help="parts to measure; others keep the results of the last run (default %(default)s)")
    parser.add_argument("--models", default=",".join(MODELS), help="models of the models' table, likewise (default %(default)s)")
    parser.add_argument("--ranks", default="2,4,8", help="numbers of ranks of the models' table (default %(default)s)")
    parser.add_argument("--scaling-ranks", default="2,4,8,16", help="numbers of ranks of the scaling table (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="measured rounds (default %(default)s)")
    parser.add_argument("--warmup-rounds", type=int, default=2, help="rounds before these (default %(default)s)")
    parser.add_argument("--halfback", type=pathlib.Path, default=results.ROOT / "build/bench/cli/halfback")
    parser.add_argument("--output", type=pathlib.Path, default=results.ROOT / "build/bench-results", metavar="DIR")
    options = parser.parse_args()
    results.require_program(options.halfback)
    return options


def main():
    options = parse_arguments()
    results.warn_if_busy()
    options.output.mkdir(parents=True, exist_ok=True)
    compare = Compare(options)
    path = options.output / "two_stage.json"
    record = json.loads(path.read_text()) if path.exists() else {}
    record.update(machine=results.machine(), rounds=options.rounds, warmup_rounds=options.warmup_rounds)
    models = options.models.split(",")
    measure = {
        "models": lambda: merged(record.get("models", []), models, measure_models(
            compare, [int(count) for count in options.ranks.split(",")], models)),
        "scaling": lambda: measure_scaling(compare, [int(count) for count in options.scaling_ranks.split(",")]),
        "effects": lambda: measure_effects(compare),
        "many_chunks": lambda: measure_many_chunks(compare, options.output.resolve()),
    }
    for part in options.parts.split(","):
        record[part] = measure[part]()
    render = {"models": render_models, "scaling": render_scaling, "effects": render_effects,
              "many_chunks": render_many_chunks}
    measured = [part for part in measure if part in record]
    record["commands"] = list(dict.fromkeys(row["command"] for part in measured for row in record[part]))
    record["tables"] = {part: render[part](record[part]) for part in measured}
    results.write(options.output, "two_stage", record,
                  "\n".join([f"{results.describe(record)}.\n", *record["tables"].values()]))


if __name__ == "__main__":
    main()

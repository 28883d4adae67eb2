#!/usr/bin/env python3
"""Runs the studies of studies/ and reads off them what local updates are said to show: nine trends, each with what was found.

A study that was stopped goes on. Trends 1 and 2 have published curves (Laskin et al., read off their plots); the others have an
order. Intervals are of medians over seeds, at 95 %, by resampling.
"""

import argparse
import csv
import json
import pathlib
import random
import re
import shutil
import statistics
import subprocess

import results

STUDIES = ("cosines", "random_labels", "local", "local_models", "local_batches")
MEMORIZED_IMAGES = 10000  # training-images of studies/random_labels.toml
SAMPLES_OF_PIPELINE = 32  # of ideal time: a batch has as many pipelines side by side as it takes
# Laskin et al., arXiv:2012.03837: cosine of the local gradient with the true one, by iteration and layer; training accuracy on random
# labels by epoch.
PUBLISHED = {
    "cosines": {"steps": [400, 1000, 2000, 4000, 6000, 8000, 9800],
                "layers": [[.25, .40, .34, .29, .25, .24, .23], [.38, .48, .54, .50, .42, .39, .39], [.28, .64, .70, .70, .73, .68, .61],
                           [.36, .82, .90, .97, .98, .99, .99], [1.0] * 7]},
    "random_labels": {"epochs": [20, 40, 60, 78, 82, 90, 99], "backprop": [.13, .20, .30, .45, .67, .73, .77],
                      "local": [.11, .14, .18, .24, .25, .27, .28]},
}


def place(row):
    return dict(row["place"])


def interval(values):
    """[low, median, high] of the median."""
    drawn = random.Random(0)
    medians = sorted(statistics.median(drawn.choices(values, k=len(values))) for _ in range(2000))
    return [medians[49], statistics.median(values), medians[1950]]


def final(row, curve="validation_accuracy"):
    return row["curve"][curve][-1]


def by_scheme(rows, number, **labels):
    """Of each scheme an interval over the seeds, and n, of a number of its rows with these labels."""
    found = {}
    for row in rows:
        at = place(row)
        if all(at.get(name) == label for name, label in labels.items()) and (value := number(row)) is not None:
            found.setdefault(at["scheme"], []).append(value)
    return {scheme: interval(values) + [len(values)] for scheme, values in found.items()}


def best_rate(rows, number, **labels):
    """The same with the learning rate of each scheme whose median is least."""
    best = {}
    for rate in dict.fromkeys(place(row)["learning-rate"] for row in rows):
        for scheme, found in by_scheme(rows, number, **{"learning-rate": rate, **labels}).items():
            if scheme not in best or found[1] < best[scheme][1]:
                best[scheme] = found
    return best


def mean_cosines(row):
    """Of each layer over the second half of the run."""
    late = row["curve"]["cosines"][len(row["curve"]["cosines"]) // 2:]
    return [statistics.fmean(layer) for layer in zip(*late)]


def cosine_curves(rows, scheme):
    """Of each layer at each validation: lowest, median and highest over the seeds."""
    runs = [row["curve"] for row in rows if place(row)["scheme"] == scheme]
    layers = range(len(runs[0]["cosines"][0]))
    return {"steps": runs[0]["step"], "n": len(runs), "layers": [
        [[min(at), statistics.median(at), max(at)] for at in zip(*([all_layers[layer] for all_layers in run["cosines"]] for run in runs))]
        for layer in layers]}


def accuracy_curves(rows, scheme, rate):
    runs = [row["curve"] for row in rows if place(row)["scheme"] == scheme and place(row)["learning-rate"] == rate]
    return {"steps": runs[0]["step"], "n": len(runs),
            "values": [[min(at), statistics.median(at), max(at)] for at in zip(*(run["validation_accuracy"] for run in runs))]}


def ordered(values, slack=0.0):
    return all(later >= earlier - slack for earlier, later in zip(values, values[1:]))


def trend_1(studies):
    rows = studies["cosines"]["rows"]
    layers = list(zip(*(mean_cosines(row) for row in rows if place(row)["scheme"] == "greedy")))
    medians = [statistics.median(layer) for layer in layers]
    curves = cosine_curves(rows, "greedy")
    found = ", ".join(f"{low:.2f} - {high:.2f}" for low, _, high in map(interval, layers))
    return {"what": "greedy: the cosine with backprop's gradient rises with depth, and is 1 at the last layer",
            "found": f"layers 1 to {len(layers)}, mean of the second half of the run: {found}; n = {curves['n']}",
            "published": ".25, .40, .68, .99, 1.00 (iterations 6000 to 9800)",
            "holds": ordered(medians) and abs(medians[-1] - 1) < 1e-6}


def trend_2(studies):
    rows = studies["random_labels"]["rows"]
    found = {scheme: [1 - value for value in (high, middle, low)] + [n]
             for scheme, (low, middle, high, n) in best_rate(rows, lambda row: 1 - final(row)).items()}
    epoch = rows[0]["curve"]["step"][-1] * rows[0]["samples_per_step"] / MEMORIZED_IMAGES
    text = "; ".join(f"{scheme} {results.spread(value[:3], 2)}" for scheme, value in found.items())
    return {"what": "random labels: backprop memorizes more than losses on each layer",
            "found": f"accuracy on the training images after {epoch:.0f} epochs: {text}; n = {found['backprop'][3]}",
            "published": "backprop .77, local .28 at epoch 99", "holds": found["backprop"][0] > found["greedy"][2]}


def trend_3(studies):
    numbers = studies["cosines"]["csv"]
    text, medians = [], {}
    for scheme in dict.fromkeys(row["scheme"] for row in numbers):
        cka, angle = ([float(row[name]) for row in numbers if row["scheme"] == scheme and row[name]]
                      for name in ("first_layer_cka", "first_layer_angle"))
        if cka:
            medians[scheme] = statistics.median(cka)
            text.append(f"{scheme} {results.spread(interval(cka))}, angle {statistics.median(angle):.2f}")
    order = [medians[scheme] for scheme in ("two chunks", "three chunks", "overlapping", "greedy") if scheme in medians]
    return {"what": "first layers move away from backprop's in the order two chunks, three chunks, overlapping, greedy",
            "found": "CKA with backprop of the same seed (backprop: with its next seed), and mean angle: " + "; ".join(text),
            "published": "by eye, in this order", "holds": ordered(order[::-1])}


def training_losses(studies, batch):
    return best_rate(studies["local"]["rows"], lambda row: final(row, "loss"), **{"batch-size": batch})


def trend_4(studies):
    texts, holds = [], True
    for batch in dict.fromkeys(place(row)["batch-size"] for row in studies["local"]["rows"]):
        found = training_losses(studies, batch)
        texts.append(f"batch {batch}: " + ", ".join(f"{scheme} {results.spread(value[:3])}" for scheme, value in found.items()))
        middle = {scheme: value[1] for scheme, value in found.items()}
        holds = holds and ordered([middle[one] for one in ("backprop", "two chunks", "three chunks")]) and middle["overlapping"] < middle["greedy"]
    return {"what": "training loss at equal steps: backprop, two chunks, three chunks; overlapping below greedy",
            "found": "; ".join(texts), "published": "in this order", "holds": holds}


def trend_5(studies):
    texts, holds = [], True
    for batch in dict.fromkeys(place(row)["batch-size"] for row in studies["local"]["rows"]):
        middle = {scheme: value[1] for scheme, value in training_losses(studies, batch).items()}
        deficits = [middle[scheme] - middle["backprop"] for scheme in ("two chunks", "three chunks", "greedy")]
        texts.append(f"batch {batch}: 2, 3 and 5 blocks have " + ", ".join(f"{value:.3f}" for value in deficits))
        holds = holds and ordered(deficits)
    return {"what": "more local blocks, a larger deficit of the training loss", "found": "; ".join(texts), "published": "in this order",
            "holds": holds}


def steps_of(rows, scheme, batch):
    """Of each seed the least steps of its trials."""
    seeds = {}
    for row in rows:
        at = place(row)
        if (at["scheme"], at["batch-size"], row["status"]) == (scheme, batch, "complete"):
            seeds[at["seed"]] = min(row["steps"], seeds.get(at["seed"], row["steps"]))
    return list(seeds.values())


def scaling(studies):
    """Of each scheme: batch, interval of the steps, n."""
    rows = studies["local_batches"]["rows"]
    found = {}
    for row in rows:
        scheme, batch = place(row)["scheme"], place(row)["batch-size"]
        if batch not in [point[0] for point in found.setdefault(scheme, [])] and (steps := steps_of(rows, scheme, batch)):
            found[scheme].append([batch, *interval(steps), len(steps)])
    return {scheme: sorted(points, key=lambda point: int(point[0])) for scheme, points in found.items()}


def trend_6(studies):
    texts, holds = [], True
    for scheme, points in scaling(studies).items():
        falls = [before[2] / after[2] for before, after in zip(points, points[1:])]
        texts.append(f"{scheme}: " + ", ".join(f"{batch} {middle:.0f}" for batch, _, middle, _, _ in points))
        holds = holds and falls[-1] < falls[0]
    return {"what": "steps to the target stop falling as the batch grows, for every scheme", "found": "median steps at batch sizes, " + "; ".join(texts),
            "published": "for all", "holds": holds}


def costs(studies):
    """Scheme, batch, and medians over seeds of compute and ideal time of the trial with the fewest steps."""
    rows, best = studies["local_batches"]["rows"], {}
    for row in rows:
        at = place(row)
        key = (at["scheme"], at["batch-size"], at["seed"])
        if row["status"] == "complete" and (key not in best or row["steps"] < best[key]["steps"]):
            best[key] = row
    points = {}
    for (scheme, batch, _), row in best.items():
        time = row["parallel_flops"] * min(1.0, SAMPLES_OF_PIPELINE / row["samples_per_step"])
        points.setdefault((scheme, batch), []).append((row["flops"], time))
    return [[scheme, batch, *(statistics.median(values) for values in zip(*pairs)), len(pairs)] for (scheme, batch), pairs in points.items()]


def front(points):
    return [one for one in points if not any(other[2] <= one[2] and other[3] <= one[3] and other[2:4] != one[2:4] for other in points)]


def trend_7(studies):
    best = sorted(front(costs(studies)), key=lambda point: point[2])
    text = "; ".join(f"{scheme}, batch {batch}: {flops:.2g} FLOPs, {time:.2g} one after the other" for scheme, batch, flops, time, _ in best)
    return {"what": "some local scheme is on the front of compute and ideal time, at its fast end", "found": text,
            "published": "local at the fast end", "holds": not best[-1][0].startswith("backprop")}


def trend_8(studies):
    found = {}
    for row in studies["local"]["rows"]:
        found[place(row)["scheme"]] = (row["sent_down"], row["activation_bytes"])
    text = "; ".join(f"{scheme}: {down / 1024:.0f} KiB down, {', '.join(f'{peak / 1024:.0f}' for peak in peaks)} KiB"
                     for scheme, (down, peaks) in found.items())
    down, peaks = found["greedy"]
    return {"what": "greedy sends nothing down, and its activations are flat in depth (layer 1 reads more than it writes)",
            "found": f"bytes down in a step and most activations of each rank, at the last batch size: {text}",
            "published": "as said", "holds": down == 0 and max(peaks[1:]) <= 1.2 * min(peaks[1:])}


def trend_9(studies):
    texts, holds = [], True
    rows = studies["local"]["rows"]
    flops = {scheme: value[1] for scheme, value in by_scheme(rows, lambda row: row["flops"]).items()}
    for batch in dict.fromkeys(place(row)["batch-size"] for row in rows):
        middle = {scheme: value[1] for scheme, value in training_losses(studies, batch).items()}
        closed = (middle["greedy"] - middle["overlapping"]) / (middle["greedy"] - middle["backprop"])
        texts.append(f"batch {batch}: {closed:.0%} of the gap")
        holds = holds and closed > 0
    more = flops["overlapping"] / flops["greedy"]
    return {"what": "overlapping closes a part of greedy's gap to backprop", "found": f"{'; '.join(texts)}, for {more:.2f} times the FLOPs of greedy",
            "published": "a part", "holds": holds}


TRENDS = {"1": (trend_1, "cosines"), "2": (trend_2, "random_labels"), "3": (trend_3, "cosines"), "4": (trend_4, "local"), "5": (trend_5, "local"),
          "6": (trend_6, "local_batches"), "7": (trend_7, "local_batches"), "8": (trend_8, "local"), "9": (trend_9, "local")}


def find_trends(studies):
    return [{"number": number, **find(studies)} for number, (find, needed) in TRENDS.items() if needed in studies]


def curves(studies):
    found = {}
    if "cosines" in studies:
        found["cosines"] = cosine_curves(studies["cosines"]["rows"], "greedy")
    if "random_labels" in studies:
        rows = studies["random_labels"]["rows"]
        rate = dict.fromkeys(place(row)["learning-rate"] for row in rows)
        losses = {one: by_scheme(rows, lambda row: 1 - final(row), **{"learning-rate": one}) for one in rate}
        best = {scheme: min(rate, key=lambda one: losses[one][scheme][1]) for scheme in dict.fromkeys(place(row)["scheme"] for row in rows)}
        found["random_labels"] = {scheme: accuracy_curves(rows, scheme, one) for scheme, one in best.items()}
        found["epoch_steps"] = MEMORIZED_IMAGES / rows[0]["samples_per_step"]
    if "local_batches" in studies:
        found["scaling"], found["costs"] = scaling(studies), costs(studies)
    return found


def models(rows):
    """Of each model and scheme: losses and accuracy at the best learning rate, and the compute of a run."""
    found = []
    for model in dict.fromkeys(place(row)["model"] for row in rows):
        number = {"loss": lambda row: final(row, "loss"), "validation": lambda row: row["validation_loss"],
                  "error": lambda row: None if (value := row.get("validation_accuracy")) is None else 1 - value}
        of = {name: best_rate(rows, value, model=model) for name, value in number.items()}
        flops = {scheme: value[1] for scheme, value in by_scheme(rows, lambda row: row["flops"], model=model).items()}
        found += [{"model": model, "scheme": scheme, "flops": flops[scheme], **{name: of[name].get(scheme) for name in number}} for scheme in of["loss"]]
    return found


def render_models(found):
    lines = []
    for one in found:
        base = next(other for other in found if (other["model"], other["scheme"]) == (one["model"], "backprop"))
        accuracy = results.spread([1 - value for value in one["error"][2::-1]]) if one["error"] else ""
        lines.append([one["model"], one["scheme"], results.spread(one["loss"][:3]), f"{one['loss'][1] - base['loss'][1]:+.3f}",
                      results.spread(one["validation"][:3]), accuracy, f"{one['flops'] / base['flops']:.2f}", one["loss"][3]])
    return results.table(["model", "scheme", "training loss", "beside backprop", "validation loss", "accuracy", "FLOPs / backprop", "n"], lines)


def render(trends):
    words = {True: "yes", False: "**no**"}
    return results.table(["", "trend", "found", "published", "holds"],
                         [[f"T{one['number']}", one["what"], one["found"], one["published"], words[one["holds"]]] for one in trends])


def read(folder):
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()][1:]
    with open(folder / "rows.csv", newline="") as file:
        return {"rows": sorted(rows, key=lambda row: row["run"]), "csv": list(csv.DictReader(file)), "folder": folder}


def shortened(path, folder):
    """A copy of a study with few steps and two seeds."""
    text = re.sub(r"^steps = \d+", "steps = 40", path.read_text(), flags=re.M)
    text = re.sub(r"evaluate-every = \d+", "evaluate-every = 20", text)
    text = re.sub(r"^count = \d+", "count = 2", re.sub(r"^seed = .*", "seed = [1, 2]", text, flags=re.M), flags=re.M)
    copy = folder / path.name
    copy.write_text(re.sub(r"^validation-accuracy = .*", "validation-accuracy = 0.15", text, flags=re.M))
    return copy


def write_text():
    """The King James Bible, a verse a line, where ./hb demo has it."""
    path = results.ROOT / "build/data/kjv.txt"
    if not path.exists():
        if not shutil.which("bible"):
            results.fail("the program bible is missing (Debian's bible-kjv); ./hb demo installs it")
        path.parent.mkdir(parents=True, exist_ok=True)
        verses = results.run(["bible", "-f", "gen1:1-rev22:21"]).splitlines(keepends=True)
        path.write_text("".join(verse.partition(" ")[2] for verse in verses))  # without "Ge1:1 "


def run_all(names, options):
    """Runs studies, and reads what they have found, with the commands."""
    folder = options.output / "studies"
    folder.mkdir(parents=True, exist_ok=True)
    if "local_models" in names:
        write_text()
    found = {}
    for name in names:
        path = results.ROOT / "studies" / f"{name}.toml"
        path = shortened(path, folder).resolve() if options.rounds else path.relative_to(results.ROOT)
        command = [str(options.halfback.resolve()), "study", str(path), "--output", str(folder / name)]
        if subprocess.run(command, cwd=results.ROOT, stdout=subprocess.DEVNULL).returncode != 0:
            results.fail(f"{name}: the study ended early; its own message is above, and the same command continues")
        found[name] = {"command": results.shown(command), **read(folder / name)}
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--halfback", type=pathlib.Path, default=results.ROOT / "build/bench/cli/halfback", metavar="PROGRAM")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("build/bench-results"), metavar="DIR")
    parser.add_argument("--only", choices=STUDIES, action="append", help="this study; repeatable (all)")
    parser.add_argument("--rounds", type=int, help="of other parts; here: all studies with 40 steps and 2 seeds")
    options = parser.parse_args()
    results.require_program(options.halfback)
    machine = results.machine()
    studies = run_all(options.only or STUDIES, options)
    trends = find_trends(studies)
    tables = {"trends": render(trends)}
    if "local_models" in studies:
        tables["models"] = render_models(models(studies["local_models"]["rows"]))
    record = {"machine": machine, "trends": trends, "curves": curves(studies), "published": PUBLISHED,
              "commands": [study["command"] for study in studies.values()], "tables": tables}
    results.write(options.output, "studies", record, "\n".join(tables.values()))


if __name__ == "__main__":
    main()

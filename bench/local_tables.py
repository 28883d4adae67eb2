"""The aims and tables of bench/local.py."""

import statistics

import results

OVER = {"1f1b": "1f1b", "greedy-1": "PyTorch greedy, 1 thread", "greedy-2": "its 2 threads", "pipelining": "torch 1F1B"}


def ratios(rows, slower, faster):
    seconds = {row["name"]: row["seconds"] for row in rows}
    return [over / under for over, under in zip(seconds[slower], seconds[faster])]


def find_aims(record):
    """What, the aim, what was found, and whether it holds; some have no aim."""
    rows, one = record["two_ranks"], "greedy on 1 rank"
    greedy = next(row for row in rows if row["name"] == "greedy")
    speed_up = results.quartiles([ratio / 2 for ratio in ratios(rows, one, "greedy")])
    both = results.quartiles([ratio / 2 for ratio in ratios(rows, one, "greedy on 1 rank, two runs at once")])
    balance = results.quartiles([first / last for first, last in greedy["work_seconds"]])
    simulated, found = greedy["step_over_simulated"], record["losses"]
    return [["greedy on 2 ranks: speed-up over 1 rank, by ranks", "at least 0.97", results.spread(speed_up), speed_up[1] >= 0.97],
            ["two runs of greedy on 1 rank at once: the same", "", results.spread(both), None],
            ["greedy on 2 ranks: step over simulated", "at most 1.02", f"{simulated:.3f}", simulated <= 1.02],
            ["greedy on 2 ranks: work of rank 0 over that of rank 1", "", results.spread(balance), None],
            ["losses of greedy training beside PyTorch's: largest relative difference", f"at most {found['tolerance']:g}",
             f"{found['largest_difference']:.1e}", found["largest_difference"] <= found["tolerance"]]]


def render_aims(aims):
    words = {True: "reached", False: "**missed**", None: ""}
    return results.table(["what", "aim", "found", ""], [[*row[:3], words[row[3]]] for row in aims])


def mebibytes(counts):
    return ", ".join(f"{count / 2**20:.1f}" for count in counts)


def down(row):
    return "{} of {:.1f} MiB".format(row["down"][0], row["down"][1] / 2**20)


def render_two_ranks(rows):
    lines = []
    for row in rows:
        line = [row["title"], results.spread([1e3 * value for value in results.quartiles(row["seconds"])], 1),
                *(results.spread(results.quartiles(ratios(rows, name, row["name"])), 2) for name in OVER)]
        if "down" in row:
            work = [statistics.median(rank) for rank in zip(*row["work_seconds"])]
            line += [", ".join(f"{1e3 * seconds:.0f}" for seconds in work), down(row), mebibytes(row["activation_bytes"])]
        if "bit_equal" in row:
            line += [mebibytes(row["predicted_activation_bytes"]), f"{row['step_over_simulated']:.3f}",
                     "yes" if row["bit_equal"] else "no"]
        lines.append(line + [""] * (12 - len(line)))
    return results.table(["", "step, ms", *(f"over {title}" for title in OVER.values()), "work of ranks, ms",
                          "sent down", "activations, MiB", "predicted", "step/simulated", "bit-equal"], lines)


def render_emulated(rows):
    lines = []
    for row in rows:
        base = next(one for one in rows if one["ranks"] == row["ranks"])
        largest = max(range(row["ranks"]), key=lambda rank: row["activation_bytes"][rank])
        lines.append([row["ranks"], row["schedule"], f"{1e3 * row['step_seconds']:.1f} ± {1e3 * row['spread_seconds']:.1f}",
                      f"{base['step_seconds'] / row['step_seconds']:.2f}", f"{row['bubble_fraction']:.3f}",
                      f"{mebibytes([row['activation_bytes'][largest]])} on rank {largest}",
                      "yes" if row["activation_bytes"] == row["predicted_activation_bytes"] else "no", down(row),
                      f"{row['step_over_simulated']:.3f}", "yes" if row["bit_equal"] else "no",
                      "EMULATED" if row["emulated"] else "wall clock"])
    return results.table(["ranks", "schedule", "step, ms", "over 1f1b", "bubble", "most activations, MiB", "all as predicted",
                          "sent down", "step/simulated", "bit-equal", "time"], lines)

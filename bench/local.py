#!/usr/bin/env python3
"""Measures training with local updates beside backprop and beside PyTorch: 2 ranks by wall clock, 4 to 16 emulated.

In each round all contestants of 2 ranks train some steps in turn, in an order that rotates. The median step of a turn
counts, without its first ones, and ratios are taken within a round. Halfback's turns are runs of `halfback train`: steps
without a barrier show in a run only, `compare` alternates two backwards of one schedule but not schedules, and the report
has messages and spans. `halfback compare` adds the simulated step, predicted bytes and the check of bits.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import local_tables
import peers
import results

TWO = "--ranks 2 --micro-batches {m}"
# what it is: the schedule (none: the file of write_one_rank()), whether the backward is split, options, equal runs at once
HALFBACK = {
    "1f1b": ("1f1b", False, TWO, 1),
    "zb-h1": ("zb-h1", True, TWO, 1),
    "gpipe": ("gpipe", False, TWO, 1),
    "gpipe, 2 replicas of 1 rank": ("gpipe", False, "--ranks 1 --data-parallel 2 --micro-batches {half_m}", 1),
    "greedy": ("local-greedy", False, TWO, 1),
    "overlapping, window 2": ("local-overlapping", True, TWO, 1),
    "interlocking, distance 1": ("local-interlocking", True, TWO, 1),
    "greedy on 1 rank": ("", False, "", 1),
    "greedy on 1 rank, two runs at once": ("", False, "", 2),
}
RIVALS = ("greedy-1", "greedy-2", "pipelining")  # of bench/peers.py
EMULATED = {"1f1b": False, "zb-h1": True, "local-greedy": False, "local-chunked": False, "local-overlapping": True,
            "local-interlocking": True}  # whether the backward is split
EMULATED_SIZE = "--width 256 --heads 8 --hidden 688 --sequence 128 --micro-batch-size 1 --micro-batches 4"
BLOCKS_OF_RANK = 2
SKIPPED_STEPS = 2
CHECKED_STEPS, TOLERANCE = 3, 1e-5  # of losses beside PyTorch's


class Halfback:
    """Runs the program in the root folder."""

    def __init__(self, options):
        self.options = options
        self.sizes = {**peers.COMMON, **peers.SIZES[options.size]}
        self.size = " ".join(f"--{key} {value}" for key, value in self.sizes.items() if key not in ("vocabulary", "micro-batches"))
        self.folder = os.path.relpath(options.output.resolve(), results.ROOT)

    def command(self, *arguments):
        return [str(self.options.halfback.resolve()), *" ".join(arguments).split()]

    def train(self, schedule, arguments, steps, copies=1):
        """metrics.jsonl, the spans of the last step, and the command; of the first of some equal runs at once."""
        command = self.command("train --evaluate-every 0 --threads 1 --schedule", schedule, arguments, f"--steps {steps}",
                               "--clip-scope stage" if is_local(schedule) else "")
        reports = [results.ROOT / self.folder / f"local_run_{copy}" for copy in range(copies)]
        runs = [subprocess.Popen([*command, "--report", str(report)], cwd=results.ROOT, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.PIPE, text=True) for report in reports]
        for run in runs:
            _, messages = run.communicate()
            if run.returncode != 0:
                results.fail(f"{results.shown(command)} ended with {run.returncode}: {messages}")
        lines = [json.loads(line) for line in (reports[0] / "metrics.jsonl").read_text().splitlines()]
        return lines, json.loads((reports[0] / "trace.json").read_text())["traceEvents"], results.shown(command)

    def compare(self, schedules, arguments, rounds):
        command = self.command("compare --json --threads 1 --schedules", ",".join(schedules), arguments, f"--rounds {rounds}",
                               "--warmup-rounds 1", "--clip-scope stage" if is_local(schedules[-1]) else "")
        print("==>", *command[1:], file=sys.stderr)
        return json.loads(results.run(command, results.ROOT)), results.shown(command)

    def write_one_rank(self):
        """Greedy training of 2 stages on 1 rank: both, one after the other, for each micro-batch."""
        count = self.sizes["micro-batches"]
        work = [f"{stage}{kind}{number}" for number in range(count) for stage in (0, 1) for kind in "FB"]
        work[-2:] = ["0U", *work[-2:], "1U"]
        path = os.path.join(self.folder, "greedy_one_rank.csv")
        (results.ROOT / path).write_text(f"# halfback schedule name=greedy-one-rank micro_batches={count} placement=0,0 "
                                         f"losses=0:0,1:1 weights=sum\n{','.join(work)}\n")
        results.run(self.command("verify", path), results.ROOT)
        return path


def is_local(schedule):
    return schedule.startswith("local-") or schedule.endswith(".csv")


def work_of_ranks(events):
    """Seconds that each rank computes in a step; messages are waits."""
    work = {}
    for event in events:
        if event.get("cat") in ("F", "I", "W", "B", "U"):
            work[event["tid"]] = work.get(event["tid"], 0.0) + event["dur"] * 1e-6
    return [work[rank] for rank in sorted(work)]


def sent_down(line):
    down = [link for link in line["links"] if link["to"] < link["from"]]
    return [sum(link["messages"] for link in down), sum(link["bytes"] for link in down)]


class Run:
    """A contestant whose turns are runs of `halfback train`."""

    def __init__(self, halfback, name, one_rank):
        schedule, self.is_split, arguments, self.copies = HALFBACK[name]
        m = halfback.sizes["micro-batches"]
        self.halfback, self.schedule = halfback, schedule or one_rank
        self.arguments = f"{arguments.format(m=m, half_m=m // 2)} {halfback.size}"
        self.row = {"name": name, "title": f"Halfback, {name}", "seconds": [], "work_seconds": []}

    def turn(self, steps):
        split = f"--two-stage {'on' if self.is_split else 'off'}" if HALFBACK[self.row["name"]][0] else ""
        lines, events, self.row["command"] = self.halfback.train(
            self.schedule, f"{self.arguments} {split} --data LICENSE --warmup 1", SKIPPED_STEPS + steps, self.copies)
        self.row["seconds"].append(statistics.median(line["seconds"] for line in lines[SKIPPED_STEPS:]) / self.copies)
        self.row["work_seconds"].append(work_of_ranks(events))
        self.row["down"] = sent_down(lines[-1])
        self.row["activation_bytes"] = [rank["activations"] for rank in lines[-1]["memory_bytes"]]

    def finish(self, rounds):
        if self.copies > 1:
            return
        found, self.row["compare_command"] = self.halfback.compare([self.schedule], self.arguments, rounds)
        row = next(row for row in found if row["two_stage"] == self.is_split)
        self.row.update({key: row[key] for key in ("predicted_activation_bytes", "step_over_simulated", "bit_equal")})


class Rival:
    """A PyTorch process, which sleeps between its turns."""

    def __init__(self, name, options):
        self.process = peers.Contestant(name, options.size, options)
        self.row = {"name": name, "title": self.process.title, "seconds": [], "command": self.process.shown_command()}

    def turn(self, steps):
        seconds = [self.process.step() for _ in range(SKIPPED_STEPS + steps)]
        self.row["seconds"].append(statistics.median(seconds[SKIPPED_STEPS:]))

    def finish(self, _):
        self.process.end()


def measure_two_ranks(halfback, options):
    one_rank = halfback.write_one_rank()
    contestants = [*(Run(halfback, name, one_rank) for name in HALFBACK), *(Rival(name, options) for name in RIVALS)]
    for number in range(options.rounds):
        print(f"==> 2 ranks: round {number + 1} of {options.rounds}", file=sys.stderr)
        turn = number % len(contestants)
        for one in contestants[turn:] + contestants[:turn]:
            one.turn(options.steps)
            time.sleep(0.1)  # so that threads that spin after their work are asleep
    for one in reversed(contestants):  # first the processes end
        one.finish(options.rounds)
    return [{**one.row, "rounds": options.rounds} for one in contestants]


def measure_emulated(halfback, options):
    rows = []
    for ranks in map(int, options.emulated.split(",")):
        arguments = f"--ranks {ranks} --layers {ranks * BLOCKS_OF_RANK} {EMULATED_SIZE}"
        found, command = halfback.compare(list(EMULATED), arguments, options.rounds)
        for row in found:
            if row["two_stage"] == EMULATED[row["schedule"]]:
                split = f"--two-stage {'on' if row['two_stage'] else 'off'} --data LICENSE"
                lines, _, train = halfback.train(row["schedule"], f"{arguments} {split}", 1)
                rows.append({**row, "rounds": options.rounds, "command": train, "compare_command": command,
                             "down": sent_down(lines[0])})
    return rows


def check_losses(halfback, options):
    """The losses of both halves in some steps, beside those of PyTorch from the same initial values and tokens."""
    text, values = (os.path.join(halfback.folder, name) for name in ("one_sequence.txt", "initial_values"))
    (results.ROOT / text).write_bytes((results.ROOT / "LICENSE").read_bytes()[:halfback.sizes["sequence"] + 1])
    same = (f"--ranks 2 --micro-batches {halfback.sizes['micro-batches']} {halfback.size} --two-stage off --data {text} "
            "--validation-fraction 0 --warmup 0 --learning-rate-floor 1")
    halfback.train("local-greedy", f"{same} --learning-rate 0 --checkpoint {values}", 1)
    ours = [line["losses"] for line in halfback.train("local-greedy", same, CHECKED_STEPS)[0]]
    sizes = [part for key, value in halfback.sizes.items() for part in (f"--{key}", str(value))]
    theirs = json.loads(results.run([options.python, "bench/peers/local.py", *sizes, "--values", values, "--text", text,
                                     "--steps", str(CHECKED_STEPS)], results.ROOT))
    largest = max(abs(other / mine - 1) for step, others in zip(ours, theirs) for mine, other in zip(step, others))
    if largest > TOLERANCE:
        results.fail(f"greedy training has the losses {ours}, PyTorch's {theirs}; expected a difference below {TOLERANCE:g}")
    return {"ours": ours, "theirs": theirs, "largest_difference": largest, "tolerance": TOLERANCE}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="measured rounds (default %(default)s)")
    parser.add_argument("--steps", type=int, default=8, help="steps that count in a turn (default %(default)s)")
    parser.add_argument("--size", choices=peers.SIZES, default="small-4", help="of bench/peers.py (default %(default)s)")
    parser.add_argument("--emulated", default="4,8,16", help="numbers of ranks of the emulated table (default %(default)s)")
    parser.add_argument("--halfback", type=pathlib.Path, default=results.ROOT / "build/bench/cli/halfback")
    parser.add_argument("--python", default=sys.executable, help="an interpreter with torch (default: this one)")
    parser.add_argument("--output", type=pathlib.Path, default=results.ROOT / "build/bench-results", metavar="DIR")
    parser.set_defaults(wait_policy="default", timeout=120.0)
    options = parser.parse_args()
    results.require_program(options.halfback)
    return options


def main():
    options = parse_arguments()
    results.warn_if_busy()
    options.output.mkdir(parents=True, exist_ok=True)
    halfback = Halfback(options)
    record = {"machine": results.machine(), "rounds": options.rounds, "warmup_rounds": 0, "size": halfback.sizes}
    record["losses"] = check_losses(halfback, options)
    record["two_ranks"] = measure_two_ranks(halfback, options)
    record["emulated"] = measure_emulated(halfback, options)
    record["aims"] = local_tables.find_aims(record)
    rows = record["two_ranks"] + record["emulated"]
    record["commands"] = list(dict.fromkeys(row[key] for row in rows for key in ("command", "compare_command") if key in row))
    record["tables"] = {"aims": local_tables.render_aims(record["aims"]),
                        "two_ranks": local_tables.render_two_ranks(record["two_ranks"]),
                        "emulated": local_tables.render_emulated(record["emulated"])}
    results.write(options.output, "local", record, "\n".join([f"{results.describe(record)}.\n", *record["tables"].values()]))


if __name__ == "__main__":
    main()

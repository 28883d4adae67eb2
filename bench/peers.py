#!/usr/bin/env python3
"""Measures training steps of Halfback and of PyTorch side by side, in alternating rounds.

All contestants of a size start first. Then, in each round, every one runs one step in turn while the others
sleep; the order rotates from round to round. A ratio is taken within a round, so that a drift of the machine's speed
cancels out; medians and quartiles are over the rounds. Each contestant has two cores: two threads in one process, or
one thread in each of two ranks.
"""

import argparse
import json
import os
import pathlib
import shlex
import subprocess
import sys
import threading
import time

import results

SIZES = {
    "small-4": {"width": 256, "hidden": 688, "sequence": 128, "micro-batch-size": 4, "micro-batches": 4},
    "small-8": {"width": 256, "hidden": 688, "sequence": 128, "micro-batch-size": 4, "micro-batches": 8},
    "medium-4": {"width": 512, "hidden": 1376, "sequence": 256, "micro-batch-size": 2, "micro-batches": 4},
}
COMMON = {"layers": 8, "heads": 8, "vocabulary": 256, "seed": 1}
PEERS = {"eager-2": "PyTorch eager, 2 threads", "pipelining": "torch pipelining 1F1B, 2 processes",
         "eager-2-bf16": "PyTorch eager, bfloat16 autocast, 2 threads"}
# name: what it is, the program, its options
CONTESTANTS = {
    "halfback-1": ("Halfback, 1 rank, 2 threads", "halfback",
                   ["--ranks", "1", "--threads", "2", "--schedule", "1f1b", "--two-stage", "off"]),
    "halfback-2-on": ("Halfback, 2 ranks 1f1b, two-stage on", "halfback",
                      ["--ranks", "2", "--schedule", "1f1b", "--two-stage", "on"]),
    "halfback-2-off": ("Halfback, 2 ranks 1f1b, two-stage off", "halfback",
                       ["--ranks", "2", "--schedule", "1f1b", "--two-stage", "off"]),
    "halfback-1-bf16": ("Halfback in bfloat16, 1 rank, 2 threads", "halfback",
                        ["--ranks", "1", "--threads", "2", "--schedule", "1f1b", "--two-stage", "off",
                         "--precision", "bfloat16"]),
    "halfback-2-on-bf16": ("Halfback in bfloat16, 2 ranks 1f1b, two-stage on", "halfback",
                           ["--ranks", "2", "--schedule", "1f1b", "--two-stage", "on", "--precision", "bfloat16"]),
    "eager-2": (PEERS["eager-2"], "eager.py", ["--threads", "2"]),
    "eager-1": ("PyTorch eager, 1 thread", "eager.py", ["--threads", "1"]),
    "eager-2-bf16": (PEERS["eager-2-bf16"], "eager.py", ["--threads", "2", "--precision", "bfloat16"]),
    "pipelining": (PEERS["pipelining"], "pipelining.py", ["--schedule", "1f1b"]),
    "pipelining-gpipe": ("torch pipelining GPipe", "pipelining.py", ["--schedule", "gpipe"]),
    "pipelining-interleaved-zb": ("torch pipelining interleaved zero bubble", "pipelining.py",
                                  ["--schedule", "interleaved_zb"]),
    "pipelining-zbv": ("torch pipelining ZB-V", "pipelining.py", ["--schedule", "zbv"]),
}
LOCAL = {  # of bench/local.py: each half of the model has a head
    "greedy-1": ("PyTorch eager, greedy, 1 thread", "local.py", ["--threads", "1"]),
    "greedy-2": ("PyTorch eager, greedy, 2 threads", "local.py", ["--threads", "2"]),
}
DEFAULT = ["halfback-1", "halfback-2-on", "halfback-2-off", "eager-2", "eager-1", "pipelining", "halfback-1-bf16",
           "halfback-2-on-bf16", "eager-2-bf16"]
FIRST_LOSS_TOLERANCE = 0.03  # same tokens, other initial values


class Contestant:
    """A process that answers "step" with the seconds of one training step."""

    def __init__(self, name, size, options):
        self.name = name
        self.title, program, arguments = {**CONTESTANTS, **LOCAL}[name]
        command = [str(options.server)] if program == "halfback" else \
            [options.python, str(results.ROOT / "bench" / "peers" / program)]
        for key, value in {**COMMON, **SIZES[size]}.items():
            command += [f"--{key}", str(value)]
        self.command = command + arguments
        self.timeout = options.timeout
        self.seconds = []
        self.losses = []
        environment = dict(os.environ)
        if options.wait_policy != "default":
            environment["OMP_WAIT_POLICY"] = options.wait_policy
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        bufsize=1, env=environment)
        self.facts = self.answer()

    def answer(self):
        """The next JSON line. A contestant that is silent for too long is killed, which ends the wait."""
        watch = threading.Timer(self.timeout, self.process.kill)
        watch.start()
        line = self.process.stdout.readline()
        watch.cancel()
        if not line:
            code = self.process.wait()
            results.fail(f"{self.name}: ended with {code} or said nothing for {self.timeout:g} s; its own message is "
                         f"above; run it alone: {self.shown_command()}")
        return json.loads(line)

    def step(self):
        self.process.stdin.write("step\n")
        answer = self.answer()
        self.losses.append(answer["loss"])
        return answer["seconds"]

    def shown_command(self):
        return shown(self.command)

    def cpu_seconds(self):
        """CPU seconds of the process and its children so far."""
        total, waiting = 0.0, [self.process.pid]
        while waiting:
            pid = waiting.pop()
            try:
                fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
                waiting += map(int, pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
            except OSError:
                continue
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return total

    def end(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def shown(command):
    """A command as one would type it in the root folder."""
    parts = ["python3" if pathlib.Path(part).name.startswith("python") and i == 0 else
             os.path.relpath(part, results.ROOT) if os.path.isabs(part) else part for i, part in enumerate(command)]
    return shlex.join(parts)


def check_losses(contestants):
    """The contestants train the same thing: first losses are close, and all fall."""
    reference = contestants[0]
    for one in contestants:
        if abs(one.losses[0] / reference.losses[0] - 1) > FIRST_LOSS_TOLERANCE:
            results.fail(f"{one.name}: its first loss is {one.losses[0]:.4f}, that of {reference.name} "
                         f"{reference.losses[0]:.4f}; they do not train the same model")
        if len(one.losses) > 1 and not one.losses[-1] < one.losses[0]:
            results.fail(f"{one.name}: its loss goes from {one.losses[0]:.4f} to {one.losses[-1]:.4f}; it must fall")


def run_rounds(contestants, options, size):
    """Fills in the seconds of all; returns the largest share of a core that sleeping contestants took."""
    largest_idle = 0.0
    total = options.warmup_rounds + options.rounds
    for number in range(total):
        turn = number % len(contestants)
        for one in contestants[turn:] + contestants[:turn]:
            others = [other for other in contestants if other is not one]
            cpu_before, wall_before = sum(other.cpu_seconds() for other in others), time.perf_counter()
            seconds = one.step()
            idle = sum(other.cpu_seconds() for other in others) - cpu_before
            if number >= options.warmup_rounds:
                one.seconds.append(seconds)
                largest_idle = max(largest_idle, idle / (time.perf_counter() - wall_before))
            time.sleep(options.pause)
        results.progress(number + 1, total, f"{size}: round")
    return largest_idle


def ratio_rows(contestants, size):
    tokens = SIZES[size]["sequence"] * SIZES[size]["micro-batch-size"] * SIZES[size]["micro-batches"]
    seconds = {one.name: one.seconds for one in contestants}
    rows = []
    for one in contestants:
        ratios = {peer: results.quartiles([theirs / ours for theirs, ours in zip(seconds[peer], one.seconds)])
                  for peer in PEERS if peer in seconds}
        rows.append({
            "contestant": one.name,
            "title": one.title,
            "tokens_per_second": results.quartiles([tokens / s for s in one.seconds]),
            "step_seconds": results.quartiles(one.seconds),
            "ratios": ratios,
            "seconds": one.seconds,
            "losses": one.losses,
            "command": one.shown_command(),
        })
    return rows


def measure(size, options):
    contestants = []
    try:
        for name in options.contestants:
            contestants.append(Contestant(name, size, options))
        parameters = {one.facts["parameters"] for one in contestants}
        if len(parameters) != 1:
            results.fail(f"{size}: the models have {sorted(parameters)} parameters; expected one number")
        idle = run_rounds(contestants, options, size)
        check_losses(contestants)
        facts = {key: value for one in contestants for key, value in one.facts.items()}
        return {"size": size, "sizes": {**COMMON, **SIZES[size]}, "idle_cpu": round(idle, 3),
                "parameters": parameters.pop(), "torch": facts["torch"], "compiler": facts.get("compiler"),
                "rows": ratio_rows(contestants, size)}
    finally:
        for one in contestants:
            one.end()


def render(record):
    text = []
    for size in record["sizes"]:
        peers = [peer for peer in PEERS if peer in size["rows"][0]["ratios"]]
        numbers = size["sizes"]
        text.append(f"**{size['size'].replace('-', ', M = ')}**: {numbers['layers']} layers, width {numbers['width']}, "
                    f"hidden {numbers['hidden']}, {numbers['heads']} heads, sequence {numbers['sequence']}, "
                    f"{numbers['micro-batch-size']} sequences a micro-batch; {size['parameters']} parameters; sleeping "
                    f"contestants took at most {size['idle_cpu']:.0%} of a core.\n")
        text.append(results.table(
            ["contestant", "tokens/s"] + [f"over {PEERS[peer]}" for peer in peers],
            [[row["title"], results.spread(row["tokens_per_second"], 0)] +
             [results.spread(row["ratios"][peer]) for peer in peers] for row in size["rows"]]))
    return "\n".join(text)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=",".join(SIZES), help="sizes to measure, among %(default)s")
    parser.add_argument("--contestants", default=",".join(DEFAULT),
                        help=f"contestants (default %(default)s) among {', '.join(CONTESTANTS)}")
    parser.add_argument("--rounds", type=int, default=15, help="measured steps of each contestant (default %(default)s)")
    parser.add_argument("--warmup-rounds", type=int, default=3, help="rounds before these (default %(default)s)")
    parser.add_argument("--pause", type=float, default=0.1, metavar="SECONDS",
                        help="seconds between steps, so that threads that spin after their work are asleep (default %(default)s)")
    parser.add_argument("--wait-policy", choices=["default", "passive", "active"], default="default",
                        help="OMP_WAIT_POLICY of all contestants (default: the system's)")
    parser.add_argument("--timeout", type=float, default=120.0, help="deadline of a step, in seconds (default %(default)s)")
    parser.add_argument("--server", type=pathlib.Path,
                        default=results.ROOT / "build/bench/bench/halfback_step_server", help="Halfback's contestant")
    parser.add_argument("--python", default=sys.executable, help="an interpreter with torch (default: this one)")
    parser.add_argument("--output", type=pathlib.Path, default=results.ROOT / "build/bench-results", metavar="DIR")
    options = parser.parse_args()
    for option, known in (("sizes", SIZES), ("contestants", CONTESTANTS)):
        names = getattr(options, option).split(",")
        unknown = [name for name in names if name not in known]
        if unknown:
            results.fail(f"--{option}: '{unknown[0]}' is none of {', '.join(known)}", 2)
        setattr(options, option, list(dict.fromkeys(names)))
    if options.rounds < 1 or options.warmup_rounds < 0:
        results.fail(f"--rounds is {options.rounds}, --warmup-rounds {options.warmup_rounds}; expected 1 or more, "
                     "0 or more", 2)
    return options


def check_programs(options):
    programs = {CONTESTANTS[name][1] for name in options.contestants}
    if "halfback" in programs and not os.access(options.server, os.X_OK):
        results.fail(f"{os.path.relpath(options.server)} is missing; 'bench/run build' makes it")
    if programs - {"halfback"}:
        found = subprocess.run([options.python, "-c", "import torch"], capture_output=True, text=True)
        if found.returncode != 0:
            results.fail(f"{options.python} cannot import torch ({found.stderr.strip().splitlines()[-1]}); "
                         "name an interpreter that can with --python")


def main():
    options = parse_arguments()
    check_programs(options)
    results.warn_if_busy()
    record = {"machine": results.machine(), "command": shown([sys.executable, *sys.argv]),
              "rounds": options.rounds, "warmup_rounds": options.warmup_rounds, "wait_policy": options.wait_policy}
    record["sizes"] = [measure(size, options) for size in options.sizes]
    for fact in ("torch", "compiler"):
        record[fact] = record["sizes"][0][fact]
    text = f"{results.describe(record)}\n\n    {record['command']}\n\n{render(record)}"
    results.write(options.output, "peers", record, text)


if __name__ == "__main__":
    main()

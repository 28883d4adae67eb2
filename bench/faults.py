#!/usr/bin/env python3
"""Kills random processes of training runs at random moments, until there are as many kills as rounds. Every run must end
by itself, by --max-restarts, with the weights of an undisturbed run."""

import argparse
import os
import pathlib
import queue
import random
import signal
import subprocess
import tempfile
import threading
import time

import results

SIZES = ("--layers 4 --width 64 --heads 4 --hidden 176 --sequence 64 --schedule zb-h1 --ranks 4 --micro-batches 8 --threads 1 "
         "--steps 400 --warmup 10 --evaluate-every 0 --checkpoint-every 20 --timeout 10")
DEADLINE_SECONDS = 120  # of a run to say something after a kill
RESTARTS = 1_000_000


def text():
    return "".join(f"And the {i * i * i % 97} waters of day {i} were upon the earth.\n" for i in range(4000))


def children(pid):
    try:
        return [int(one) for one in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def weights(checkpoint):
    """All tensors of a checkpoint, optimizer state too."""
    return {path.name: path.read_bytes() for path in sorted(checkpoint.glob("*.safetensors"))}


class Run:
    """A run in a folder of its own, and its stderr, line by line as it arrives."""

    def __init__(self, command, folder):
        self.process = subprocess.Popen(command, cwd=folder, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.lines = queue.Queue()
        self.said = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stderr:
            self.said.append(line)
            self.lines.put(line)
        self.lines.put(None)

    def wait_for_restart(self):
        """True when it has started again, False when it has ended."""
        while True:
            try:
                line = self.lines.get(timeout=DEADLINE_SECONDS)
            except queue.Empty:
                self.process.kill()
                results.fail("the run hangs:\n" + "".join(self.said[-20:]))
            if line is None:
                return False
            if line.startswith("restart ") and ("restarting from step 0" in line or "resuming from" in line):
                return True

    def ends_within(self, seconds):
        try:
            self.process.wait(timeout=seconds)
            return True
        except subprocess.TimeoutExpired:
            return False

    def check(self):
        if self.process.wait() != 0:
            results.fail(f"the run ended with {self.process.returncode}:\n" + "".join(self.said[-20:]))


def kill_one(run, chance):
    """Kills a process of the run; None when none is left."""
    alive = children(run.process.pid)
    if not alive:
        return None
    try:
        victim = chance.choice(alive)
        os.kill(victim, signal.SIGKILL)
    except ProcessLookupError:
        return None
    return time.monotonic()


def disturb(run, chance, life_seconds, most):
    """Kills at most this many times. Returns the seconds from each kill to the next start."""
    seconds = []
    while len(seconds) < most and not run.ends_within(chance.uniform(0, life_seconds)):
        killed_at = kill_one(run, chance)
        if killed_at is None:
            continue
        if not run.wait_for_restart():
            break  # it was so late that the run had done its work
        seconds.append(time.monotonic() - killed_at)
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100, help="number of kills (default %(default)s)")
    parser.add_argument("--processes", type=int, default=2, help="processes of each run (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the kills (default %(default)s)")
    parser.add_argument("--program", type=pathlib.Path, default=results.ROOT / "build/bench/cli/halfback")
    parser.add_argument("--output", type=pathlib.Path, default=results.ROOT / "build/bench-results", metavar="DIR")
    options = parser.parse_args()
    results.require_program(options.program)
    machine = results.machine()
    chance = random.Random(options.seed)
    command = [str(options.program.resolve()), "train", "--data", "text.txt", "--checkpoint", "run", "--processes",
               str(options.processes), *SIZES.split()]
    num_runs, seconds = 0, []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "text.txt").write_text(text())
        began = time.monotonic()
        Run(command, folder).check()
        undisturbed = time.monotonic() - began
        expected = weights(folder / "run")
        while len(seconds) < options.rounds:
            subprocess.run(["rm", "-r", "run"], cwd=folder, check=True)
            run = Run([*command, "--max-restarts", str(RESTARTS)], folder)
            seconds += disturb(run, chance, undisturbed / 2, options.rounds - len(seconds))
            run.check()
            num_runs += 1
            if weights(folder / "run") != expected:
                results.fail("the weights are not those of the undisturbed run")
            beside = sorted(path.name for path in folder.iterdir() if path.name not in ("run", "text.txt"))
            if beside:
                results.fail(f"left beside the checkpoint: {', '.join(beside)}")
            results.progress(len(seconds), options.rounds, "kills")
    low, median, high = results.quartiles(seconds)
    shown = results.shown(["bench/faults.py", "--rounds", str(options.rounds), "--processes", str(options.processes)])
    record = {"machine": machine, "command": shown, "arguments": SIZES, "kills": len(seconds), "runs": num_runs,
              "undisturbed_seconds": undisturbed, "seconds_to_restart": seconds}
    rows = [[len(seconds), num_runs, "all", f"{median:.2f} ({low:.2f} - {high:.2f})", f"{max(seconds):.2f}"]]
    columns = ["kills", "runs", "equal to the bit", "seconds from kill to restart", "most"]
    results.write(options.output, "faults", record,
                  f"{results.describe(record)}\n\n    {shown}\n\n{results.table(columns, rows)}")


if __name__ == "__main__":
    main()

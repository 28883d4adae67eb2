#!/usr/bin/env python3
"""Two processes on two hosts (network namespaces of their own) whose link is cut: both end, each names the other.

    link_is_cut.py HALFBACK

Exits with 77 where it may not make network namespaces.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

TIMEOUT_SECONDS = 3
DEADLINE_SECONDS = 60
SKIPPED = 77
ADDRESSES = ["10.213.77.1", "10.213.77.2"]


class Hosts:
    """Two namespaces and a link between them."""

    def __init__(self):
        self.names = [f"halfback{os.getpid()}{letter}" for letter in "ab"]

    def __enter__(self):
        for name in self.names:
            self.ip("netns", "add", name)
        self.ip("link", "add", "hb0", "netns", self.names[0], "type", "veth", "peer", "hb1", "netns", self.names[1])
        for i, name in enumerate(self.names):
            self.ip("-n", name, "address", "add", f"{ADDRESSES[i]}/24", "dev", f"hb{i}")
            self.ip("-n", name, "link", "set", "lo", "up")
            self.ip("-n", name, "link", "set", f"hb{i}", "up")
        return self

    def __exit__(self, *_):
        for name in self.names:
            subprocess.run(["ip", "netns", "delete", name], check=False)

    @staticmethod
    def ip(*arguments):
        subprocess.run(["ip", *arguments], check=True)

    def start(self, index, command):
        environment = {**os.environ, "RANK": str(index), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1",
                       "MASTER_ADDR": ADDRESSES[0], "MASTER_PORT": "29533"}
        return subprocess.Popen(["ip", "netns", "exec", self.names[index], *command], env=environment,
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def cut(self):
        self.ip("-n", self.names[0], "link", "set", "hb0", "down")


def may_make_namespaces():
    name = f"halfback{os.getpid()}"
    try:
        made = subprocess.run(["ip", "netns", "add", name], capture_output=True)
    except FileNotFoundError:
        return False
    if made.returncode == 0:
        subprocess.run(["ip", "netns", "delete", name], check=True)
    return made.returncode == 0


def main(halfback):
    if not may_make_namespaces():
        print("skipped: network namespaces need root and iproute2")
        return SKIPPED
    with tempfile.TemporaryDirectory() as name, Hosts() as hosts:
        text = pathlib.Path(name) / "text.txt"
        text.write_text("".join(f"And the {i * i * i % 97} waters were upon the earth.\n" for i in range(60)))
        command = [halfback, "train", "--data", str(text), "--layers", "2", "--width", "16", "--heads", "2", "--hidden", "24",
                   "--sequence", "16", "--evaluate-every", "0", "--threads", "1", "--ranks", "2", "--steps", "10000000",
                   "--timeout", str(TIMEOUT_SECONDS)]
        processes = [hosts.start(i, command) for i in range(2)]
        try:
            for line in processes[0].stderr:  # the run is under way once it tells of a step
                if line.startswith("step "):
                    break
            hosts.cut()
            begin = time.monotonic()
            said = [process.communicate(timeout=DEADLINE_SECONDS)[1] for process in processes]
            seconds = time.monotonic() - begin
        finally:
            for process in processes:
                process.kill()
    for index, other in ((0, "process 1 (rank 1"), (1, "process 0 (rank 0")):
        assert processes[index].returncode == 1, f"process {index} ended with {processes[index].returncode}: {said[index]}"
        errors = [line for line in said[index].splitlines() if line.startswith("error: ")]
        assert len(errors) == 1 and other in errors[0], f"process {index} said: {said[index]}"
    print(f"both processes ended {seconds:.1f} s after the cut, with a timeout of {TIMEOUT_SECONDS} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

#!/usr/bin/env python3
"""PyTorch's launcher starts the program in two processes: same weights as in one, and a failure of both.

    torchrun_runs.py HALFBACK
"""

import pathlib
import subprocess
import sys
import tempfile

from safetensors import safe_open

SIZES = ["--layers", "2", "--width", "16", "--heads", "2", "--hidden", "24", "--sequence", "16", "--micro-batch-size", "1",
         "--evaluate-every", "0", "--threads", "1", "--ranks", "2", "--steps", "3"]
DEADLINE_SECONDS = 120


def run(command, exit_code=0):
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_SECONDS)
    assert done.returncode == exit_code, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def tensors(checkpoint):
    found = {}
    for path in checkpoint.glob("*.safetensors"):
        with safe_open(path, "numpy") as file:
            found.update({name: file.get_tensor(name).tobytes() for name in file.keys()})
    return found


def main(halfback):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        text = folder / "text.txt"
        text.write_text("".join(f"And the {i * i * i % 97} waters were upon the earth.\n" for i in range(60)))
        train = [halfback, "train", "--data", str(text), *SIZES]
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--no-python", "--nproc-per-node", "2"]
        run([*train, "--checkpoint", str(folder / "one")])
        said = run([*torchrun, *train, "--checkpoint", str(folder / "two")])
        assert "processes: 2, clocks within" in said, said
        one, two = tensors(folder / "one"), tensors(folder / "two")
        assert one and one == two, "weights differ"
        # Steps without a barrier, by losses inside the model; the state has the heads too.
        local = [*train, "--schedule", "greedy", "--micro-batches", "4", "--queue", "1", "--clip", "0"]
        run([*local, "--checkpoint", str(folder / "local one")])
        run([*torchrun, *local, "--checkpoint", str(folder / "local two")])
        one, two = tensors(folder / "local one"), tensors(folder / "local two")
        assert any("local_heads" in name for name in one) and one == two, "weights of local training differ"
        # A failure ends both processes, and torchrun says so.
        said = run([*torchrun, *train, "--learning-rate", "1e30", "--warmup", "0"], exit_code=1)
        assert "the run has diverged" in said, said
        assert said.count("error: ") == 1, said
        # A second launcher is refused.
        said = run([*torchrun, *train, "--processes", "2"], exit_code=1)
        assert "in a process that torchrun has started" in said, said
    print("torchrun: 2 processes have the weights of one")


if __name__ == "__main__":
    main(sys.argv[1])

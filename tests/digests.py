#!/usr/bin/env python3
"""Prints digests of what training gives, and of all schedules, to show that a change of the structure changed no bit.

    digests.py HALFBACK [--only TEXT]

Run it on the commits before and after a change, on the same machine, and compare the outputs:

    tests/digests.py build/release/cli/halfback > after; diff before after

A line for each run: model, schedule, precision, ranks, processes, then the digests of losses and
norms, of the last step's gradients, and of the parameters. Bits differ between kinds of processor,
so no digest is kept in the repository. --only runs what has TEXT in its line.
"""

import argparse
import concurrent.futures
import gzip
import hashlib
import itertools
import json
import os
import pathlib
import random
import struct
import subprocess
import sys
import tempfile

STEPS = 10
SIZES = {
    "llama": "--layers 6 --width 32 --heads 4 --kv-heads 2 --hidden 48 --sequence 16",
    "bert": "--layers 6 --width 32 --heads 4 --hidden 48 --sequence 16",
    "mamba": "--layers 6 --width 16 --state-size 4 --sequence 16",
    "resnet": "--depth 18 --width 8",
    "mlp": "--layers 6 --width 32",
}  # fmt: skip
SCHEDULES = {
    "gpipe": "--schedule gpipe --two-stage off",
    "1f1b": "--schedule 1f1b --two-stage on",
    "zb-v": "--schedule zb-v",
}
# AdamW without beta1 and clipping keeps the gradients of the last step as they are.
OPTIONS = f"--steps {STEPS} --warmup 3 --micro-batches 6 --micro-batch-size 2 --beta1 0 --clip 0 --evaluate-every 5 --evaluate-samples 4"


def write_text(path):
    drawn = random.Random(1)
    words = ["".join(drawn.choices("etaoinshrdlu", k=drawn.randrange(1, 9))) for _ in range(300)]
    path.write_text(" ".join(drawn.choice(words) for _ in range(8000)))


def write_images(directory):
    drawn = random.Random(2)
    directory.mkdir()
    for part, count in (("train", 200), ("t10k", 20)):
        pixels = struct.pack(">IIII", 0x803, count, 28, 28) + drawn.randbytes(count * 28 * 28)
        labels = struct.pack(">II", 0x801, count) + bytes(drawn.randrange(10) for _ in range(count))
        (directory / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(pixels))
        (directory / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))


def digest_of(parts):
    whole = hashlib.sha256()
    for name, value in sorted(parts):
        whole.update(f"{name} {len(value)} ".encode() + value)
    return whole.hexdigest()[:16]


def tensors_of(directory, name):
    """Names and bytes, out of one file or out of the parts that several processes wrote."""
    found = []
    for path in sorted(directory.glob(f"{name}*.safetensors")):
        data = path.read_bytes()
        end = 8 + struct.unpack("<Q", data[:8])[0]
        header = json.loads(data[8:end])
        header.pop("__metadata__", None)
        found += [(tensor, data[end + entry["data_offsets"][0] : end + entry["data_offsets"][1]]) for tensor, entry in header.items()]
    return found


def training(halfback, directory, model, schedule, precision, ranks, processes):
    """Returns the line of one run."""
    name = f"{model} {schedule} {precision} {ranks} ranks, {processes} processes"
    run = directory / name.replace(" ", "_")
    data = directory / ("images" if model in ("resnet", "mlp") else "text")
    options = f"--model {model} {SIZES[model]} {SCHEDULES[schedule]} --precision {precision} --data {data} {OPTIONS}"
    if processes > 1:  # replicas, or where running statistics allow none, more ranks
        replicas = f"--ranks {ranks + 1}" if model == "resnet" else f"--data-parallel {processes}"
        options += f" {replicas} --processes {processes}"
    if "--ranks" not in options:
        options += f" --ranks {ranks}"
    made = subprocess.run([halfback, "train", *options.split(), "--checkpoint", run, "--report", f"{run}.report", "--threads", "1"],
                          capture_output=True, text=True, timeout=600)  # fmt: skip
    if made.returncode:
        raise SystemExit(f"{name}: exit {made.returncode}\n{made.stderr}")
    steps = [json.loads(line) for line in (pathlib.Path(f"{run}.report") / "metrics.jsonl").read_text().splitlines()]
    known = [[step["loss"], step["gradient_norm"], step["learning_rate"], step.get("validation_loss")] for step in steps]
    digests = [digest_of(part) for part in ([("metrics", json.dumps(known).encode())], tensors_of(run, "training_state"), tensors_of(run, "model"))]
    return f"{name}: {' '.join(digests)}"


def lists(halfback, family, ranks):
    """Returns the line of a family, over its numbers of micro-batches, stages and both backwards."""
    whole = hashlib.sha256()
    for (micro_batches, two_stage), per_rank in itertools.product(((2 * ranks, "on"), (2 * ranks, "off"), (2 * ranks + 1, "on")), (1, 2)):
        options = f"--ranks {ranks} --micro-batches {micro_batches} --two-stage {two_stage} --format csv"
        if per_rank > 1:
            options += f" --stages-per-rank {per_rank}"
        made = subprocess.run([halfback, "schedule", family, *options.split()], capture_output=True, timeout=600)
        whole.update(made.stdout + b"%d" % made.returncode)
    return f"lists {family} {ranks} ranks: {whole.hexdigest()[:16]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("halfback")
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    halfback = os.path.abspath(arguments.halfback)
    listed = json.loads(subprocess.run([halfback, "schedule", "list", "--json"], check=True, capture_output=True, text=True).stdout)
    runs = itertools.product(SIZES, SCHEDULES, ("float32", "bfloat16"), (1, 3), (1, 2))
    with tempfile.TemporaryDirectory() as name, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        directory = pathlib.Path(name)
        write_text(directory / "text")
        write_images(directory / "images")
        jobs = [pool.submit(lists, halfback, family["name"], ranks) for family in listed for ranks in range(1, 9)
                if arguments.only in f"lists {family['name']} {ranks} ranks"]  # fmt: skip
        jobs += [pool.submit(training, halfback, directory, *run) for run in runs
                 if arguments.only in "{} {} {} {} ranks, {} processes".format(*run)]  # fmt: skip
        for job in jobs:
            print(job.result(), flush=True)


if __name__ == "__main__":
    sys.exit(main())

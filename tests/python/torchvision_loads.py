#!/usr/bin/env python3
"""Checks that torchvision computes with our ResNets what we do, and that we do with its.

    torchvision_loads.py EXCHANGE_RESNET
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import torch
import torchvision_operators  # noqa: F401  before torchvision
import torchvision
from safetensors.torch import load_file, save_file

TOLERANCE = 1e-4
CASES = (  # depth, channels, size, small stem
    (18, 3, 64, False),
    (18, 1, 28, True),
    (50, 3, 64, False),
)
NUM_CLASSES = 7


def make_model(depth, channels, small_stem):
    model = getattr(torchvision.models, f"resnet{depth}")(num_classes=NUM_CLASSES)
    if small_stem:
        model.conv1 = torch.nn.Conv2d(channels, 64, 3, 1, 1, bias=False)
        model.maxpool = torch.nn.Identity()
    return model


def write_config(directory, depth, channels, size, small_stem):
    config = {
        "architecture": f"resnet{depth}",
        "num_classes": NUM_CLASSES,
        "pretrained_cfg": {"input_size": [channels, size, size]},
        "small_image_stem": small_stem,
    }
    (directory / "config.json").write_text(json.dumps(config))


def check_logits(model, written):
    model.eval()
    with torch.no_grad():
        logits = model(written["images"])
    difference = ((logits - written["logits"]).abs().max() / logits.abs().max()).item()
    assert difference <= TOLERANCE, difference
    # Equal by being different from each other, not by being all alike.
    assert (logits.std() / logits.abs().max()).item() > 100 * TOLERANCE, logits
    return difference


def exchange(program, way, directory):
    paths = (directory / name for name in ("config.json", "state.safetensors", "logits.safetensors"))
    subprocess.run([program, way, *paths], check=True)
    return load_file(directory / "logits.safetensors")


def check_ours(program, directory, model):
    """They load what we trained."""
    written = exchange(program, "train", directory)
    state = load_file(directory / "state.safetensors")
    model.load_state_dict(state)  # strict: the same names and shapes
    assert model.bn1.num_batches_tracked.item() == 6, model.bn1.num_batches_tracked
    return check_logits(model, written)


def check_theirs(program, directory, model, channels, size):
    """We load what they trained."""
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(4, channels, size, size)).logsumexp(1).sum().backward()
        optimizer.step()
    save_file(model.state_dict(), directory / "state.safetensors")
    return check_logits(model, exchange(program, "load", directory))


def main(arguments):
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    torch.manual_seed(0)
    for depth, channels, size, small_stem in CASES:
        with tempfile.TemporaryDirectory() as name:
            directory = pathlib.Path(name)
            write_config(directory, depth, channels, size, small_stem)
            ours = check_ours(arguments[0], directory, make_model(depth, channels, small_stem))
            theirs = check_theirs(
                arguments[0], directory, make_model(depth, channels, small_stem), channels, size
            )
            print(f"resnet{depth}, {channels} x {size} x {size}: ours {ours:.1e}, theirs {theirs:.1e}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

#!/usr/bin/env python3
"""Compares the weights that SNIP keeps with a reference in PyTorch, for an MLP and a ResNet: snip_agrees.py HALFBACK"""

import pathlib
import struct
import subprocess
import sys
import tempfile

import numpy
import torch
import torchvision_operators  # noqa: F401  before torchvision
import torchvision
from safetensors.torch import load_file

NUM_IMAGES, SIZE, NUM_CLASSES, SPARSITY = 64, 12, 5, 0.9
# Ours has products of float32: a score next to the cutoff may be on its other side, and a ReLU next to 0 on the other side of 0.
MOST_DIFFERENT = 0.002


def write_images(directory):
    random = numpy.random.default_rng(5)
    for prefix, count in (("train", NUM_IMAGES), ("t10k", 16)):
        labels = numpy.arange(count, dtype=numpy.uint8) % NUM_CLASSES
        pixels = random.integers(0, 90, (count, SIZE, SIZE), dtype=numpy.uint8)
        pixels[numpy.arange(count), labels] += 120
        for name, array in (("images-idx3", pixels), ("labels-idx1", labels)):
            header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
            (directory / f"{prefix}-{name}-ubyte").write_bytes(header + array.tobytes())
        if prefix == "train":
            train = pixels, labels
    pixels = torch.tensor(train[0], dtype=torch.float64).unsqueeze(1) / 255
    return (pixels - pixels.mean()) / pixels.std(correction=0), torch.tensor(train[1], dtype=torch.long)


def snip_masks(model, images, labels):
    """The reference: SNIP (Lee, Ajanthan, Torr, ICLR 2019) on the whole training set at once."""
    model.zero_grad()
    torch.nn.functional.cross_entropy(model(images), labels, reduction="sum").backward()
    scores = {name: (one * one.grad).abs().detach() for name, one in model.named_parameters()}
    ranked = torch.cat([score.flatten() for score in scores.values()]).sort(descending=True).values
    cutoff = ranked[int((1 - SPARSITY) * len(ranked) + 0.5) - 1]
    return [score >= cutoff for score in scores.values()]


def num_different(masks, others):
    return sum(int((mask != other).sum()) for mask, other in zip(masks, others, strict=True))


def mlp(state):
    layers = [torch.nn.Flatten()]
    for i in range(3):
        weight = state[f"layers.{i}.weight"]
        layers += [torch.nn.Linear(weight.shape[1], weight.shape[0]), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(state["head.weight"].shape[1], NUM_CLASSES))
    names = [f"layers.{i}.{kind}" for i in range(3) for kind in ("weight", "bias")] + ["head.weight", "head.bias"]
    model.load_state_dict(dict(zip(model.state_dict(), (state[name] for name in names))))
    return model, names


def resnet(state):
    model = torchvision.models.resnet18(num_classes=NUM_CLASSES)
    model.conv1 = torch.nn.Conv2d(1, 64, 3, 1, 1, bias=False)
    model.maxpool = torch.nn.Identity()
    model.load_state_dict(state)
    return model, [name for name, _ in model.named_parameters()]


def train(halfback, data, output, options):
    subprocess.run(
        [halfback, "train", "--data", data, "--ranks", "2", "--steps", "1", "--learning-rate", "0", "--weight-decay", "0", "--warmup", "0",
         "--evaluate-every", "0", "--classes", str(NUM_CLASSES), "--checkpoint", output, *options],
        check=True, stdout=subprocess.DEVNULL)


def check(halfback, directory, make_model, options, data):
    train(halfback, directory, directory / "dense", options)
    train(halfback, directory, directory / "sparse", [*options, "--sparsity", str(SPARSITY)])
    model, names = make_model(load_file(directory / "dense" / "model.safetensors"))
    model, (images, labels) = model.double().train(), data
    expected = snip_masks(model, images, labels)
    found = load_file(directory / "sparse" / "training_state.safetensors")
    values = load_file(directory / "sparse" / "model.safetensors")
    masks = [found[f"mask.{name}"] == 1 for name in names]
    for name, mask in zip(names, masks):
        assert values[name][~mask].count_nonzero() == 0, name
    total, kept = (sum(int(mask.sum()) for mask in ones) for ones in ([torch.ones_like(mask) for mask in masks], masks))
    assert kept == int((1 - SPARSITY) * total + 0.5), (kept, total)
    differ, of_half = num_different(masks, expected), num_different(masks, snip_masks(model, images[::2], labels[::2]))
    assert differ <= MOST_DIFFERENT * kept, (differ, kept)
    assert of_half > 10 * MOST_DIFFERENT * kept, (of_half, kept)  # other data keeps other weights
    print(f"{make_model.__name__}: {kept} of {total} weights are kept, and {differ} choices differ ({of_half} for half of the data)")


def main():
    with tempfile.TemporaryDirectory() as temporary:
        for make_model, options in (
            (mlp, ["--model", "mlp", "--layers", "3", "--width", "40", "--inputs", str(SIZE * SIZE), "--schedule", "1f1b", "--micro-batches", "4",
                   "--micro-batch-size", "8"]),
            (resnet, ["--model", "resnet", "--depth", "18", "--width", "64", "--schedule", "gpipe", "--micro-batches", "1",
                      "--micro-batch-size", str(NUM_IMAGES), "--image-height", str(SIZE), "--image-width", str(SIZE)]),
        ):
            directory = pathlib.Path(temporary) / make_model.__name__
            directory.mkdir()
            check(sys.argv[1], directory, make_model, options, write_images(directory))


if __name__ == "__main__":
    main()

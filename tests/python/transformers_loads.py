#!/usr/bin/env python3
"""Checks that transformers computes with our checkpoints what we do, and that we do with its.

    transformers_loads.py EXCHANGE_CHECKPOINT
"""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import pathlib
import subprocess
import sys
import tempfile

import torch
import transformers
from safetensors.torch import load_file

TOLERANCE = 1e-4
OURS = (  # stages, key/value heads, tied
    ("1", "4", False),
    ("2", "2", False),
    ("4", "1", False),
    ("1", "2", True),
)
THEIRS = (
    {},
    {"num_key_value_heads": 2},
    {"tie_word_embeddings": True, "num_key_value_heads": 1},
    {"rms_norm_eps": 1e-3, "rope_parameters": {"rope_type": "default", "rope_theta": 700.0}},
)


def check_logits(model, written):
    with torch.no_grad():
        logits = model(written["tokens"]).logits
    assert logits.shape == written["logits"].shape, (logits.shape, written["logits"].shape)
    difference = (logits - written["logits"]).abs().max().item()
    assert difference <= TOLERANCE, difference
    # Equal by being different from each other, not by being all alike.
    assert logits.std().item() > 100 * TOLERANCE, logits.std()
    return difference


def check_ours(exchange, directory, stages, key_value_heads, tied):
    """They load what we trained."""
    ours, logits = directory / "ours", directory / "logits.safetensors"
    subprocess.run(
        [exchange, "train", ours, logits, stages, key_value_heads] + ["tied"] * tied, check=True
    )
    model, report = transformers.LlamaForCausalLM.from_pretrained(ours, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), report
    assert model.config.tie_word_embeddings == tied
    assert model.dtype == torch.float32, model.dtype
    return check_logits(model, load_file(logits))


def check_theirs(exchange, directory, options):
    """We load what they drew."""
    sizes = dict(
        vocab_size=70, hidden_size=48, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
        max_position_embeddings=20, initializer_range=0.2,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, **options))
    theirs, logits = directory / "theirs", directory / "logits.safetensors"
    model.save_pretrained(theirs)
    subprocess.run([exchange, "load", theirs, logits], check=True)
    return check_logits(model, load_file(logits))


def main(arguments):
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    torch.manual_seed(0)
    for case in OURS:
        with tempfile.TemporaryDirectory() as name:
            print("ours", case, f"{check_ours(arguments[0], pathlib.Path(name), *case):.1e}")
    for options in THEIRS:
        with tempfile.TemporaryDirectory() as name:
            print("theirs", options, f"{check_theirs(arguments[0], pathlib.Path(name), options):.1e}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

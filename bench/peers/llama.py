"""The model of the benchmarks in plain PyTorch, and what both peers share around it.

The same mathematics, sizes, tokens, initialization and optimizer as Halfback's: RMSNorm, rotary positions
(rotate_half, as in Hugging Face), causal attention by scaled_dot_product_attention, SwiGLU, no biases,
untied head. AdamW; weight decay on matrices only.
"""

import argparse
import gc
import json
import math
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

DEVIATION = 0.02
LEARNING_RATE = 1e-3
CLIP_NORM = 1.0


def parse_arguments(description, add_options=lambda parser: None):
    parser = argparse.ArgumentParser(description=description)
    for name, value in (("layers", 8), ("width", 256), ("heads", 8), ("hidden", 688), ("sequence", 128),
                        ("vocabulary", 256), ("micro-batch-size", 4), ("micro-batches", 4), ("threads", 1),
                        ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=value, help=f"(default {value})")
    add_options(parser)
    return parser.parse_args()


def rotate_half(x):
    a, b = x.chunk(2, -1)
    return torch.cat((-b, a), -1)


class Attention(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        self.heads = sizes.heads
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            setattr(self, name, nn.Linear(sizes.width, sizes.width, bias=False))

    def forward(self, x, cosine, sine):
        n, t, c = x.shape
        q, k, v = (projection(x).view(n, t, self.heads, -1).transpose(1, 2)
                   for projection in (self.q_proj, self.k_proj, self.v_proj))
        q = q * cosine + rotate_half(q) * sine
        k = k * cosine + rotate_half(k) * sine
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(attended.transpose(1, 2).reshape(n, t, c))


class FeedForward(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        self.gate_proj = nn.Linear(sizes.width, sizes.hidden, bias=False)
        self.up_proj = nn.Linear(sizes.width, sizes.hidden, bias=False)
        self.down_proj = nn.Linear(sizes.hidden, sizes.width, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        self.input_layernorm = nn.RMSNorm(sizes.width, eps=1e-5)
        self.self_attn = Attention(sizes)
        self.post_attention_layernorm = nn.RMSNorm(sizes.width, eps=1e-5)
        self.mlp = FeedForward(sizes)

    def forward(self, x, cosine, sine):
        x = x + self.self_attn(self.input_layernorm(x), cosine, sine)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    """Stage `stage` of `num_stages` with an equal share of the blocks; the whole model by default. Each stage has a head, or
    the last one only."""

    def __init__(self, sizes, stage=0, num_stages=1, each_has_head=False):
        super().__init__()
        has_head = each_has_head or stage == num_stages - 1
        share, rest = divmod(sizes.layers, num_stages)
        torch.manual_seed(sizes.seed * 1000 + stage)
        self.embed_tokens = nn.Embedding(sizes.vocabulary, sizes.width) if stage == 0 else None
        self.layers = nn.ModuleList(Block(sizes) for _ in range(share + (stage < rest)))
        self.norm = nn.RMSNorm(sizes.width, eps=1e-5) if has_head else None
        self.lm_head = nn.Linear(sizes.width, sizes.vocabulary, bias=False) if has_head else None
        self._initialize(sizes)

    def _initialize(self, sizes):
        head_size = sizes.width // sizes.heads
        slopes = 10000.0 ** (-torch.arange(0, head_size, 2, dtype=torch.float64) / head_size)
        angles = torch.outer(torch.arange(sizes.sequence, dtype=torch.float64), slopes).repeat(1, 2)
        self.register_buffer("cosine", angles.cos().float(), persistent=False)
        self.register_buffer("sine", angles.sin().float(), persistent=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                into_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(parameter, std=DEVIATION / math.sqrt(2 * sizes.layers) if into_residual else DEVIATION)

    def blocks(self, x):
        if self.embed_tokens is not None:
            x = self.embed_tokens(x)
        for layer in self.layers:
            x = layer(x, self.cosine, self.sine)
        return x

    def head(self, x):
        return self.lm_head(self.norm(x))

    def forward(self, x):
        x = self.blocks(x)
        return x if self.lm_head is None else self.head(x)


def summed_loss(logits, targets):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")


def make_optimizer(parameters):
    parameters = list(parameters)
    groups = [{"params": [p for p in parameters if p.dim() > 1], "weight_decay": 0.1},
              {"params": [p for p in parameters if p.dim() == 1], "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=LEARNING_RATE, betas=(0.9, 0.95),
                             fused=True)


def make_micro_batches(sizes):
    """(inputs, targets) of each micro-batch, the tokens of halfback_step_server."""
    state = 1

    def take():
        nonlocal state
        ids = []
        for _ in range(sizes.micro_batch_size * sizes.sequence):
            state = (state * 6364136223846793005 + 1442695040888963407) & (1 << 64) - 1
            ids.append((state >> 33) % sizes.vocabulary)
        return torch.tensor(ids).view(sizes.micro_batch_size, sizes.sequence)

    return [(take(), take()) for _ in range(sizes.micro_batches)]


def print_line(values):
    print(json.dumps(values), flush=True)


def serve(step, parameters):
    """Answers each line "step" of standard input with the seconds and the loss of one step."""
    gc.collect()
    gc.disable()
    print_line({"parameters": parameters, "torch": torch.__version__})
    for line in sys.stdin:
        if line != "step\n":
            sys.exit(f"error: standard input: {line!r}; expected 'step'")
        start = time.perf_counter()
        loss = step()
        print_line({"seconds": time.perf_counter() - start, "loss": loss})

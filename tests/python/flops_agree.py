#!/usr/bin/env python3
"""Compares the operations that layers state with PyTorch's flop counter on the same models: flops_agree.py PROGRAM"""

import json
import os
import subprocess
import sys

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import torchvision_operators  # noqa: F401  before torchvision
import torchvision
import transformers
from torch.utils import flop_counter

SAMPLES, TOKENS, CLASSES = 3, 20, 7
SIZES = dict(vocab_size=70, hidden_size=48, intermediate_size=72, num_hidden_layers=3, num_attention_heads=4)
aten = torch.ops.aten


# The counter does not know the attention that CPUs have.
def attention_flops(query, key, value, *_, out_shape=None, **__):
    return flop_counter.sdpa_flop_count(query, key, value)


def attention_backward_flops(grad_out, query, key, value, *_, out_shape=None, **__):
    return flop_counter.sdpa_backward_flop_count(grad_out, query, key, value)


ATTENTION = {
    aten._scaled_dot_product_flash_attention_for_cpu: attention_flops,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: attention_backward_flops,
}


def count(model, inputs, loss_of, operators):
    """Returns the operations of the forward and of both passes, of some operators or of all."""
    model.train()
    with flop_counter.FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
        sums = []
        for work in (lambda: loss_of(model(inputs)), lambda: loss.backward()):
            loss = work()
            found = counter.get_flop_counts()["Global"]
            sums.append(sum(flops for one, flops in found.items() if not operators or one in operators))
    return sums


def mlp():
    layers = [torch.nn.Linear(30, 24), torch.nn.ReLU()]
    for _ in range(3):
        layers += [torch.nn.Linear(24, 24), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(24, CLASSES))


class GreedyMlp(torch.nn.Module):
    """Each layer has a head, and takes what is below it as data."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(inputs, 24) for inputs in (30, 24, 24, 24))
        self.heads = torch.nn.ModuleList(torch.nn.Linear(24, CLASSES) for _ in self.layers)

    def forward(self, x):
        losses = []
        for layer, head in zip(self.layers, self.heads):
            x = torch.relu(layer(x.detach()))
            losses.append(head(x).sum())
        return torch.stack(losses)


def cnn():
    layers = []
    for inputs, outputs in ((1, 6), (6, 12)):
        layers += [torch.nn.Conv2d(inputs, outputs, 5, padding=2), torch.nn.ReLU(), torch.nn.MaxPool2d(2)]
    return torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(12 * 49, 24), torch.nn.ReLU(), torch.nn.Linear(24, CLASSES))


def models():
    """Model, inputs, what is summed, whether our head counts, and the operators that count."""
    tokens = torch.randint(70, (SAMPLES, TOKENS))
    images = torch.randn(SAMPLES, 3, 64, 64)

    def logits(outputs):
        return outputs.logits.sum()

    llama = transformers.LlamaConfig(**SIZES, num_key_value_heads=2, tie_word_embeddings=False)
    yield "llama", transformers.LlamaForCausalLM(llama), tokens, logits, True, ()
    bert = transformers.BertModel(transformers.BertConfig(**SIZES, attention_probs_dropout_prob=0.0), add_pooling_layer=False)
    yield "bert", bert, tokens, lambda outputs: outputs.last_hidden_state.sum(), False, ()
    # Its convolution and scan are loops here.
    sizes = dict(vocab_size=70, hidden_size=48, num_hidden_layers=3, state_size=8, tie_word_embeddings=False)
    mamba = transformers.MambaForCausalLM(transformers.MambaConfig(**sizes))
    yield "mamba", mamba, tokens, logits, True, (aten.mm, aten.addmm)
    yield "mlp", mlp(), torch.randn(SAMPLES, 30), torch.Tensor.sum, True, ()
    yield "greedy mlp", GreedyMlp(), torch.randn(SAMPLES, 30), torch.Tensor.sum, False, ()
    yield "cnn", cnn(), torch.randn(SAMPLES, 1, 28, 28), torch.Tensor.sum, True, ()
    for name in ("resnet18", "resnet50"):
        yield name, getattr(torchvision.models, name)(num_classes=CLASSES), images, torch.Tensor.sum, True, ()


def main():
    ours = json.loads(subprocess.run([sys.argv[1]], check=True, capture_output=True, text=True).stdout)
    for name, model, inputs, loss_of, has_head, operators in models():
        forward, both = count(model, inputs, loss_of, operators)
        parts = [ours[name]["layers"]] + ([ours[name]["head"]] if has_head else [])
        sums = [sum(part[kind] for part in parts) for kind in range(3)]
        if (sums[0], sum(sums)) != (forward, both):
            sys.exit(f"{name}: F {sums[0]}, F + I + W {sum(sums)}; PyTorch counts {forward} and {both}")
        print(f"{name}: F {forward}, F + I + W {both}")


if __name__ == "__main__":
    main()

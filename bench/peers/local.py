#!/usr/bin/env python3
"""A contestant of bench/local.py: PyTorch eager, greedy training of the model's two halves in one process.

Each half has a head, a loss and an optimizer of its own. The second takes the output of the first, detached. Prints one JSON
line when it is ready, then answers each line "step" on standard input with one training step.

With --values it prints the losses of both halves for some steps instead, from the initial values of a checkpoint of Halfback.
"""

import json
import pathlib

import torch

import llama

NUM_HALVES = 2


def add_options(parser):
    parser.add_argument("--values", type=pathlib.Path, metavar="DIR", help="a checkpoint of a greedy run with 2 stages")
    parser.add_argument("--text", type=pathlib.Path, metavar="FILE", help="with --values: each sequence is its beginning")
    parser.add_argument("--steps", type=int, default=3, help="with --values (default %(default)s)")


class Greedy:
    def __init__(self, options, batches):
        self.halves = [llama.Llama(options, half, NUM_HALVES, each_has_head=True) for half in range(NUM_HALVES)]
        self.optimizers = [llama.make_optimizer(half.parameters()) for half in self.halves]
        self.batches = batches
        self.num_tokens = sum(targets.numel() for _, targets in batches)

    def losses_of_step(self):
        totals = torch.zeros(NUM_HALVES)
        for x, targets in self.batches:
            for number, half in enumerate(self.halves):
                x = half.blocks(x)
                loss = llama.summed_loss(half.head(x), targets) / self.num_tokens
                loss.backward()
                totals[number] += loss.detach()
                x = x.detach()
        for half, optimizer in zip(self.halves, self.optimizers):
            torch.nn.utils.clip_grad_norm_(half.parameters(), llama.CLIP_NORM, foreach=True)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return totals.tolist()

    def step(self):
        return self.losses_of_step()[-1]

    def take_values(self, folder):
        values = {**tensors(folder / "model.safetensors"), **tensors(folder / "training_state.safetensors")}
        block = 0
        for number, half in enumerate(self.halves):
            first, block = block, block + len(half.layers)
            names = {"": "model."}
            for layer in range(len(half.layers)):
                names[f"layers.{layer}."] = f"model.layers.{first + layer}."
            if number + 1 < NUM_HALVES:
                names.update({"norm.": f"value.local_heads.{block - 1}.norm.", "lm_head.": f"value.local_heads.{block - 1}."})
            else:
                names["lm_head."] = "lm_head."
            with torch.no_grad():
                for name, parameter in half.named_parameters():
                    ours = max((prefix for prefix in names if name.startswith(prefix)), key=len)
                    parameter.copy_(values[names[ours] + name[len(ours):]])


def tensors(path):
    """The tensors of a safetensors file by name: a length, a JSON header of that length, the values (float32 here)."""
    data = bytearray(path.read_bytes())
    begin = 8 + int.from_bytes(data[:8], "little")
    found = {}
    for name, entry in json.loads(data[8:begin]).items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            values = torch.frombuffer(data, dtype=torch.float32, count=(last - first) // 4, offset=begin + first)
            found[name] = values.view(entry["shape"])
    return found


def batches_of(options):
    ids = torch.tensor(list(options.text.read_bytes()[:options.sequence + 1]))
    pair = (ids[:-1].expand(options.micro_batch_size, -1), ids[1:].expand(options.micro_batch_size, -1))
    return [pair] * options.micro_batches


def main():
    options = llama.parse_arguments(__doc__, add_options)
    torch.set_num_threads(options.threads)
    model = Greedy(options, batches_of(options) if options.values else llama.make_micro_batches(options))
    if options.values:
        model.take_values(options.values)
        llama.print_line([model.losses_of_step() for _ in range(options.steps)])
    else:
        llama.serve(model.step, sum(p.numel() for half in model.halves for p in half.parameters()))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""A contestant of bench/peers.py: PyTorch eager, the whole model in one process, gradients accumulated.

Prints one JSON line when it is ready, then answers each line "step" on standard input with one training step.
"""

import torch

import llama


def main():
    options = llama.parse_arguments(__doc__, lambda parser: parser.add_argument(
        "--precision", choices=("float32", "bfloat16"), default="float32", help="bfloat16 by autocast"))
    torch.set_num_threads(options.threads)
    model = llama.Llama(options)
    parameters = list(model.parameters())
    optimizer = llama.make_optimizer(parameters)
    batches = llama.make_micro_batches(options)
    num_tokens = sum(targets.numel() for _, targets in batches)

    def step():
        total = torch.zeros(())
        for inputs, targets in batches:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=options.precision == "bfloat16"):
                loss = llama.summed_loss(model(inputs), targets) / num_tokens
            loss.backward()
            total += loss.detach()
        torch.nn.utils.clip_grad_norm_(parameters, llama.CLIP_NORM, foreach=True)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return total.item()

    llama.serve(step, sum(p.numel() for p in parameters))


if __name__ == "__main__":
    main()

"""I and W of one stage of LLaMA-like blocks, by PyTorch's pipelining and by halfback.torch, beside a whole backward of eager.

One round runs all three, one after the other; CPU time of the thread. Prints JSON.
"""

import argparse
import copy
import json
import time
from types import SimpleNamespace

import torch
from llama import Block
from torch import nn
from torch.distributed.pipelining._backward import stage_backward_input, stage_backward_weight
from torch.profiler import ProfilerActivity, profile

from halfback.torch import Split

SIZES = [(32, 16, 1), (128, 64, 1), (128, 64, 4), (256, 128, 2), (512, 256, 1), (512, 256, 4)]  # width, length, blocks
BATCH = 2


class Stage(nn.Module):
    def __init__(self, width, length, blocks):
        super().__init__()
        sizes = SimpleNamespace(width=width, heads=width // 32, hidden=width * 8 // 3 // 8 * 8)
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(blocks))
        self.register_buffer("cosine", torch.randn(length, 32))
        self.register_buffer("sine", torch.randn(length, 32))

    def forward(self, x):
        for block in self.blocks:
            x = block(x, self.cosine, self.sine)
        return x


def seconds_of(action):
    begin = time.thread_time()
    result = action()
    return time.thread_time() - begin, result


def eager(module, x, grad):
    x = x.detach().requires_grad_()
    f, y = seconds_of(lambda: module(x))
    b, _ = seconds_of(lambda: torch.autograd.backward(y, grad))
    return {"f": f, "i": 0.0, "w": b}


def torch_halves(module, x, grad):
    x = x.detach().requires_grad_()
    f, y = seconds_of(lambda: module(x))
    i, (_, groups) = seconds_of(lambda: stage_backward_input([y], [grad], [x], module.parameters()))
    w, _ = seconds_of(lambda: stage_backward_weight(module.parameters(), groups))
    return {"f": f, "i": i, "w": w}


def our_halves(split, x, grad):
    x = x.detach().requires_grad_()
    f, (_, graph) = seconds_of(lambda: split.forward(x))
    i, _ = seconds_of(lambda: graph.backward_input(grad))
    w, _ = seconds_of(graph.backward_weight)
    return {"f": f, "i": i, "w": w}


def bytes_of(action):
    """Allocated and not freed by the action, which returns what it must keep alive."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        kept = action()
    total = sum(event.nbytes() for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]")
    return total, kept


def size(tensor):
    return tensor.untyped_storage().nbytes()


def held_by_torch(module, x, grad):
    """Bytes after F and after I, without the output and the gradient of the input, which leave the stage."""
    x = x.detach().requires_grad_()
    after_f, y = bytes_of(lambda: module(x))

    def backward_input():
        (grad_x, *_), groups = stage_backward_input([y], [grad], [x], module.parameters())
        x.grad = None
        return grad_x, groups

    change, (grad_x, _groups) = bytes_of(backward_input)
    return after_f - size(y), after_f - size(y) + change - size(grad_x)


def held_by_us(split, x, grad):
    x = x.detach().requires_grad_()
    after_f, (y, graph) = bytes_of(lambda: split.forward(x))
    change, (grad_x,) = bytes_of(lambda: graph.backward_input(grad))
    return after_f - size(y), after_f - size(y) + change - size(grad_x)


def measure(width, length, blocks, rounds, warmup):
    torch.manual_seed(0)
    module = Stage(width, length, blocks)
    contestants = {"eager": (eager, module), "torch": (torch_halves, copy.deepcopy(module)), "ours": (our_halves, Split(copy.deepcopy(module)))}
    x, grad = torch.randn(BATCH, length, width), torch.randn(BATCH, length, width)
    seconds = {name: [] for name in contestants}
    for number in range(warmup + rounds):
        for name, (run, own) in contestants.items():
            getattr(own, "module", own).zero_grad()
            found = run(own, x, grad)
            if number >= warmup:
                seconds[name].append(found)
    for one, other in zip(contestants["ours"][1].module.parameters(), contestants["eager"][1].parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
    kept, theirs = held_by_torch(contestants["torch"][1], x, grad)
    our_kept, ours = held_by_us(contestants["ours"][1], x, grad)
    return {"width": width, "length": length, "blocks": blocks, "seconds": seconds,
            "kept": {"torch": kept, "ours": our_kept}, "held": {"torch": theirs, "ours": ours}}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--warmup", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measure(*sizes, options.rounds, options.warmup) for sizes in SIZES]
    print(json.dumps({"torch": torch.__version__, "rounds": options.rounds, "warmup_rounds": options.warmup, "rows": rows}))


if __name__ == "__main__":
    main()

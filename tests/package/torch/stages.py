"""Run under torchrun: schedules of Halfback in PyTorch's runtime, with its stages or with ours. Prints what differs from eager."""

import argparse
import copy
import sys

import torch
import torch.distributed as dist
import torch.nn.functional as F
from attention import WIDTH, Attention
from torch import nn
from torch.distributed.pipelining import PipelineStage

import halfback as hb
from halfback.torch import SplitStage, runtime

BATCH = 16
NATURAL = ("naive", "1f1b-1", "1f1b-2", "1f1b-2-flush", "1f1b-2-capped")  # their names say how many micro-batches


def make_block():
    """Ends in a view, as nn.Linear with a bias on three dimensions does; has a norm, attention and a residual connection."""
    return nn.Sequential(Attention(), nn.Linear(WIDTH, WIDTH))


class Streams(nn.Module):
    """Two tensors with gradients and one without travel from stage to stage."""

    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x, states=None, mask=None):
        states = x if states is None else states
        mask = (x > 0).float().detach() if mask is None else mask
        return x + self.one(states) * mask, torch.tanh(self.other(states)), mask


def loss_of(output, target):
    output = output[0] if isinstance(output, tuple) else output
    return F.mse_loss(output, target)


def eager_gradients(parts, x, target, count):
    """Of each part, with gradients of micro-batches added in ascending order, and divided by their number."""
    for part, expected in zip(x.chunk(count), target.chunk(count), strict=True):
        y = (part,)
        for one in parts:
            y = one(*y)
            y = y if isinstance(y, tuple) else (y,)
        loss_of(y, expected).backward()
    for one in parts:
        for parameter in one.parameters():
            if parameter.grad is not None:
                parameter.grad.div_(count)


def differences(parts, eager, own):
    found = []
    for i in own:
        for (name, one), other in zip(parts[i].named_parameters(), eager[i].parameters(), strict=True):
            if (one.grad is None) != (other.grad is None) or (one.grad is not None and not torch.equal(one.grad, other.grad)):
                found.append(f"{i}.{name}")
    return found


def check(name, make_stage, make_block, plan, rank):
    torch.manual_seed(0)
    parts = [make_block() for _ in range(plan.num_stages)]
    eager = copy.deepcopy(parts)
    torch.manual_seed(1)
    x, target = torch.randn(BATCH, 4, WIDTH), torch.randn(BATCH, 4, WIDTH)
    own = plan.stages_of(rank)
    stages = [make_stage(parts[i], i, plan.num_stages, torch.device("cpu")) for i in own]
    schedule = runtime(stages, plan, loss_of)
    for step in range(2):
        for one in parts + eager:
            one.zero_grad()
        losses = []
        schedule.step(*([x] if 0 in own else []), target=target if plan.num_stages - 1 in own else None, losses=losses)
        eager_gradients(eager, x, target, plan.num_micro_batches)
        for difference in differences(parts, eager, own):
            print(f"{name}, rank {rank}, step {step}: {difference} differs", flush=True)
    print(f"done {name} on rank {rank}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", nargs="+", help="FAMILY, or FAMILY:STAGE:BLOCK with ours or torch, and block or streams")
    arguments = parser.parse_args()
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    for run in arguments.runs:
        name, stage, block = run.split(":") if ":" in run else (run, "ours", "block")
        plan = hb.build(name, ranks=world, micro_batches=None if name in NATURAL else 8)
        check(run, {"ours": SplitStage, "torch": PipelineStage}[stage], {"block": make_block, "streams": Streams}[block], plan, rank)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main())

"""PyTorch's own pipelining runtime and loop; the schedule and the split backward are Halfback's.

    torchrun --nproc-per-node 2 python/examples/own_loop.py zb-v zb-h1 1f1b

Each process prints how many of its gradients have the bits of eager PyTorch, which must be all.
"""

import copy
import sys

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

import halfback as hb
from halfback.torch import SplitStage, runtime

WIDTH, MICRO_BATCHES = 16, 8


def train(family, rank, world):
    """One step; returns the gradients of this process, and those of eager."""
    torch.manual_seed(0)
    plan = hb.build(family, ranks=world, micro_batches=MICRO_BATCHES)
    parts = [nn.TransformerEncoderLayer(WIDTH, 4, 32, dropout=0.0, batch_first=True) for _ in range(plan.num_stages)]
    eager = copy.deepcopy(parts)
    x, y = torch.randn(16, 6, WIDTH), torch.randn(16, 6, WIDTH)

    own = plan.stages_of(rank)
    stages = [SplitStage(parts[i], i, plan.num_stages, torch.device("cpu")) for i in own]
    schedule = runtime(stages, plan, F.mse_loss, channel="buffered")  # on NCCL: "nccl-pair", which zb-v is refused for
    losses = []
    schedule.step(*([x] if 0 in own else []), target=y if plan.num_stages - 1 in own else None, losses=losses)

    for inputs, target in zip(x.chunk(MICRO_BATCHES), y.chunk(MICRO_BATCHES), strict=True):
        F.mse_loss(nn.Sequential(*eager)(inputs), target).backward()
    return (
        [one.grad for i in own for one in parts[i].parameters()],
        [one.grad.div_(MICRO_BATCHES) for i in own for one in eager[i].parameters()],
    )


def main():
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    for family in sys.argv[1:] or ["zb-v", "zb-h1", "1f1b"]:
        found, expected = train(family, dist.get_rank(), dist.get_world_size())
        equal = sum(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
        print(f"{family}, rank {dist.get_rank()}: {equal} of {len(expected)} gradients have the bits of eager", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()

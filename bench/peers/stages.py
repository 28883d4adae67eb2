"""Steps of PyTorch's schedule runtime with its stages and with halfback.torch's, in turn, under torchrun. Rank 0 prints JSON."""

import argparse
import json
import time
from types import SimpleNamespace

import torch
import torch.distributed as dist
import torch.nn.functional as F
from halves import Stage
from torch.distributed.pipelining import PipelineStage

import halfback as hb
from halfback.torch import SplitStage, runtime

SIZES = [(128, 64), (256, 128)]  # width, length
FAMILIES = ("zb-h1", "zb-v", "1f1b")
BLOCKS, MICRO_BATCHES, BATCH = 8, 8, 16


def make(kind, plan, width, length, rank):
    torch.manual_seed(0)
    parts = [Stage(width, length, BLOCKS // plan.num_stages) for _ in range(plan.num_stages)]
    stages = [kind(parts[i], i, plan.num_stages, torch.device("cpu")) for i in plan.stages_of(rank)]
    return SimpleNamespace(schedule=runtime(stages, plan, F.mse_loss), stages=stages)


def step(one, x, target):
    for stage in one.stages:
        stage.submod.zero_grad()
    dist.barrier()
    wall, cpu = time.perf_counter(), time.thread_time()
    one.schedule.step(*([x] if any(stage.is_first for stage in one.stages) else []),
                      target=target if any(stage.is_last for stage in one.stages) else None, losses=[])
    cpu = time.thread_time() - cpu
    dist.barrier()
    return [time.perf_counter() - wall, cpu]


def measure(family, width, length, rounds, warmup):
    rank, world = dist.get_rank(), dist.get_world_size()
    plan = hb.build(family, ranks=world, micro_batches=MICRO_BATCHES)
    contestants = {"torch": make(PipelineStage, plan, width, length, rank), "ours": make(SplitStage, plan, width, length, rank)}
    x, target = torch.randn(BATCH, length, width), torch.randn(BATCH, length, width)
    found = {name: [] for name in contestants}
    for number in range(warmup + rounds):
        for name, one in contestants.items():
            times = [None] * world
            dist.all_gather_object(times, step(one, x, target))
            if number >= warmup:
                found[name].append({"wall": max(wall for wall, _ in times), "cpu": [cpu for _, cpu in times]})
    return {"family": family, "width": width, "length": length, "steps": found}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rows = [measure(family, *sizes, options.rounds, options.warmup) for sizes in SIZES for family in FAMILIES]
    if dist.get_rank() == 0:
        print(json.dumps({"rows": rows}))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()

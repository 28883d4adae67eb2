"""Steps of a whole model by torch.distributed.pipelining and by halfback.torch.Pipeline, in turn, under torchrun.

Pipeline runs in the same processes, and with its ranks on threads of a process that rank 0 starts. Rank 0 prints JSON.
"""

import argparse
import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time

import torch
import torch.distributed as dist
import torch.nn.functional as F
from halves import Stage
from torch import nn
from torch.distributed.pipelining import PipelineStage, schedules

import halfback as hb
from halfback.torch import Pipeline, cut

SIZES = [(128, 64), (256, 128)]  # width, length
# With one stage a rank, ScheduleInterleavedZeroBubble is the ZB1P of its paper, our zb-h1.
THEIRS = {"1f1b": schedules.Schedule1F1B, "zb-h1": schedules.ScheduleInterleavedZeroBubble, "zb-v": schedules.ScheduleZBVZeroBubble}
OURS = (*THEIRS, "zb-h2")
BLOCKS, MICRO_BATCHES, BATCH, RANKS = 8, 8, 16, 2
OF_TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")


def make_model(width, length):
    torch.manual_seed(0)
    return nn.Sequential(*(Stage(width, length, 1) for _ in range(BLOCKS)))


def make_batch(width, length):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(BATCH, length, width, generator=generator) for _ in range(2)]


def plan_of(family):
    """The 1F1B of PyTorch has whole backwards, and so has ours."""
    return hb.build(family, ranks=RANKS, micro_batches=MICRO_BATCHES, two_stage=False if family == "1f1b" else None)


def summed_loss(output, target):
    return F.mse_loss(output, target, reduction="sum")


def mean_loss(output, target):
    """Divided as Pipeline divides: by the targets of all micro-batches."""
    return summed_loss(output, target) / (target.numel() * MICRO_BATCHES)


class Theirs:
    def __init__(self, family, width, length):
        plan = plan_of(family)
        self.model, share = make_model(width, length), BLOCKS // plan.num_stages
        self.stages = [PipelineStage(self.model[i * share:(i + 1) * share], i, plan.num_stages, torch.device("cpu"))
                       for i in plan.stages_of(dist.get_rank())]
        takes_one = issubclass(THEIRS[family], schedules.PipelineScheduleSingle)
        self.schedule = THEIRS[family](self.stages[0] if takes_one else self.stages, MICRO_BATCHES, loss_fn=mean_loss, scale_grads=False)

    def step(self, x, target):
        for stage in self.stages:
            stage.submod.zero_grad()
        has_last = any(stage.is_last for stage in self.stages)
        self.schedule.step(*([x] if any(stage.is_first for stage in self.stages) else []),
                           **({"target": target, "losses": []} if has_last else {}), return_outputs=False)


class Ours:
    def __init__(self, family, width, length):
        plan = plan_of(family)
        self.model = make_model(width, length)
        self.pipeline = Pipeline(cut(self.model, plan.num_stages), plan, summed_loss, threads=1)

    def step(self, x, target):
        self.pipeline.step(x, target=target)


def digests(model):
    """Of the gradients of each block that this process has."""
    found = {}
    for number, block in enumerate(model):
        gradients = [one.grad for one in block.parameters()]
        if all(one is not None for one in gradients):
            found[number] = hashlib.sha256(b"".join(one.numpy().tobytes() for one in gradients)).hexdigest()
    return found


def timed(contestant, batch, barrier):
    barrier()
    wall, cpu = time.perf_counter(), time.process_time()
    contestant.step(*batch)
    cpu = time.process_time() - cpu
    barrier()
    return [time.perf_counter() - wall, cpu]


def serve(width, length):
    """Answers each line with the name of a schedule by the times of one step with ranks on threads."""
    batch = make_batch(width, length)
    with contextlib.ExitStack() as stack:
        contestants = {}
        for family in OURS:
            contestants[family] = Ours(family, width, length)
            stack.enter_context(contestants[family].pipeline)
            contestants[family].step(*batch)
        print(json.dumps({family: digests(one.model) for family, one in contestants.items()}), flush=True)
        for line in sys.stdin:
            print(json.dumps(timed(contestants[line.strip()], batch, lambda: None)), flush=True)


def gathered(found):
    all_found = [None] * RANKS
    dist.all_gather_object(all_found, found)
    return all_found


def require_equal(contestants, batch, of_threads):
    """Runs each contestant once; all must have the same gradients of every block, to the bit."""
    found = {}
    for name, one in contestants.items():
        one.step(*batch)
        found[name] = {number: digest for part in gathered(digests(one.model)) for number, digest in part.items()}
    for family, digest in (of_threads or {}).items():
        found["threads", family] = {int(number): text for number, text in digest.items()}
    first = found["torch", "1f1b"]
    different = [name for name, one in found.items() if len(one) != BLOCKS or one != first]
    if different:
        raise RuntimeError(f"other gradients than those of 1f1b of PyTorch: {different}")


def measure(width, length, rounds, warmup):
    is_first = dist.get_rank() == 0
    batch = make_batch(width, length)
    with contextlib.ExitStack() as stack:
        server = None
        if is_first:
            environment = {name: value for name, value in os.environ.items() if name not in OF_TORCHRUN}
            server = stack.enter_context(subprocess.Popen([sys.executable, __file__, "--serve", str(width), str(length)],
                                                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment))
            stack.callback(server.stdin.close)  # comes first, and ends it
        contestants = {("torch", family): Theirs(family, width, length) for family in THEIRS}
        for family in OURS:
            contestants["processes", family] = one = Ours(family, width, length)
            stack.enter_context(one.pipeline)
        require_equal(contestants, batch, json.loads(server.stdout.readline()) if is_first else None)
        steps = {"torch": {}, "processes": {}, "threads": {}}
        for number in range(warmup + rounds):
            for (kind, family), one in contestants.items():
                times = gathered(timed(one, batch, dist.barrier))
                if number >= warmup:
                    steps[kind].setdefault(family, []).append({"wall": max(wall for wall, _ in times), "cpu": [cpu for _, cpu in times]})
            for family in OURS if is_first else ():
                server.stdin.write(f"{family}\n")
                server.stdin.flush()
                wall, cpu = json.loads(server.stdout.readline())
                if number >= warmup:
                    steps["threads"].setdefault(family, []).append({"wall": wall, "cpu": [cpu]})
            dist.barrier()
    return {"width": width, "length": length, "steps": steps}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--serve", type=int, nargs=2, metavar=("WIDTH", "LENGTH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.serve:
        serve(*options.serve)
        return
    dist.init_process_group("gloo")
    rows = [measure(*sizes, options.rounds, options.warmup) for sizes in SIZES]
    if dist.get_rank() == 0:
        print(json.dumps({"rows": rows}))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()

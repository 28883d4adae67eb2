#!/usr/bin/env python3
"""A contestant of bench/peers.py: torch.distributed.pipelining over two processes and Gloo.

Prints one JSON line when both ranks are ready, then answers each line "step" on standard input with one training
step, timed on rank 0 from telling rank 1 to the barrier after both optimizers.
"""

import argparse
import datetime
import gc
import os
import subprocess
import sys
import tempfile

import torch
import torch.distributed as dist
from torch.distributed import pipelining
from torch.distributed.pipelining import schedules

import llama

NUM_RANKS = 2
# Class and the stages of each rank.
SCHEDULES = {
    "gpipe": (schedules.ScheduleGPipe, ([0], [1])),
    "1f1b": (schedules.Schedule1F1B, ([0], [1])),
    "interleaved_1f1b": (schedules.ScheduleInterleaved1F1B, ([0, 2], [1, 3])),
    "interleaved_zb": (schedules.ScheduleInterleavedZeroBubble, ([0, 2], [1, 3])),
    "zbv": (schedules.ScheduleZBVZeroBubble, ([0, 3], [1, 2])),
}


def add_options(parser):
    parser.add_argument("--schedule", choices=SCHEDULES, default="1f1b")
    parser.add_argument("--rank", type=int, default=0, help=argparse.SUPPRESS)  # for the second process only
    parser.add_argument("--store", default="", help=argparse.SUPPRESS)


class Trainer:
    """One rank: its stages, their optimizer and one step of the schedule."""

    def __init__(self, options):
        make_schedule, placement = SCHEDULES[options.schedule]
        mine = placement[options.rank]
        num_stages = sum(map(len, placement))
        modules = [llama.Llama(options, stage, num_stages) for stage in mine]
        stages = [pipelining.PipelineStage(module, stage, num_stages, torch.device("cpu"))
                  for module, stage in zip(modules, mine)]
        self.parameters = [p for module in modules for p in module.parameters()]
        self.optimizer = llama.make_optimizer(self.parameters)
        self.has_last = num_stages - 1 in mine
        batches = llama.make_micro_batches(options)
        self.inputs = (torch.cat([inputs for inputs, _ in batches]),) if 0 in mine else ()
        targets = torch.cat([targets for _, targets in batches])
        self.targets = {"target": targets} if self.has_last else {}
        num_tokens = targets.numel()
        takes_one = issubclass(make_schedule, schedules.PipelineScheduleSingle)
        self.schedule = make_schedule(
            stages[0] if takes_one else stages,
            options.micro_batches,
            loss_fn=lambda logits, target: llama.summed_loss(logits, target) / num_tokens,
            scale_grads=False)

    def step(self):
        losses = []
        keeps_losses = {"losses": losses} if self.has_last else {}
        self.schedule.step(*self.inputs, **self.targets, **keeps_losses, return_outputs=False)
        gradients = [p.grad for p in self.parameters]
        with torch.no_grad():
            norms = torch.stack(torch._foreach_norm(gradients)).double()
            loss = torch.stack([one.detach() for one in losses]).sum() if losses else torch.zeros(())
            sums = torch.stack([norms.square().sum(), loss.double()])
            dist.all_reduce(sums)  # squared norm and loss of all ranks
            scale = llama.CLIP_NORM / (sums[0].sqrt() + 1e-6)
            torch._foreach_mul_(gradients, scale.clamp(max=1.0).float())
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        dist.barrier()
        return sums[1].item()


def run(options, second):
    """`second` is the process of rank 1 as seen from rank 0, None on rank 1."""
    torch.set_num_threads(options.threads)
    dist.init_process_group("gloo", init_method=f"file://{options.store}", rank=options.rank, world_size=NUM_RANKS,
                            timeout=datetime.timedelta(minutes=2))
    trainer = Trainer(options)
    count = torch.tensor(sum(p.numel() for p in trainer.parameters))
    dist.all_reduce(count)
    if second is None:
        serve_second(trainer)
    else:
        def step():
            second.stdin.write(b"\n")
            return trainer.step()

        llama.serve(step, count.item())
        second.stdin.close()
        second.wait()
    dist.destroy_process_group()


def serve_second(trainer):
    gc.collect()
    gc.disable()
    for _ in sys.stdin.buffer:
        trainer.step()


def main():
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    options = llama.parse_arguments(__doc__, add_options)
    if options.rank == 1:
        run(options, None)
        return
    with tempfile.TemporaryDirectory() as folder:
        options.store = os.path.join(folder, "store")
        command = [sys.executable, *sys.argv, "--rank", "1", "--store", options.store]
        second = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, bufsize=0)
        try:
            run(options, second)
        finally:
            second.kill()


if __name__ == "__main__":
    main()

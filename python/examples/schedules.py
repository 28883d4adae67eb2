"""Builds, verifies, simulates and saves schedules; needs no torch. Its parts are the cells of a notebook.

    python python/examples/schedules.py [FILE]      writes plan.csv, or FILE, in the format of PyTorch
"""

import sys

import halfback as hb

# %% A schedule. In a notebook the last line of a cell draws it.
plan = hb.build("zb-v", ranks=4, micro_batches=8)
print(plan)

# %% It runs over channels that hold two messages, but not over NCCL with a stream for each pair of ranks.
plan.verify(channel="2")
print(plan.smallest_channel, plan.runs_on("nccl-pair"), plan.check_for_torch())

# %% Four families, if I takes as long as F and W a fifth less.
for name in ("1f1b", "interleaved-1f1b", "zb-h1", "zb-v"):
    run = hb.build(name, ranks=4, micro_batches=8).simulate(cost="1,1,0.8", latency=0.05)
    print(f"{name:17} {run.makespan:.2f} {run.bubble_fraction:.3f} {max(run.peak_held):g}")

# %% Messages too, for _load_csv(FILE, format="compute_comms") of PyTorch's runtime; halfback reads it as well.
file = sys.argv[1] if sys.argv[1:] else "plan.csv"
plan.with_messages().save(file, dialect="torch")
assert hb.load(file).without_messages().lists == plan.lists

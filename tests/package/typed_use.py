"""A program that mypy reads with --strict: the types that users see."""

import pathlib

import numpy as np

import halfback as hb

plan: hb.Schedule = hb.build("zb-v", ranks=4, micro_batches=8, cost=[1.0, 1.0, 0.8])
lists: list[list[str]] = plan.lists
smallest: int | None = plan.smallest_channel
plan.verify(channel="2", activation_limit=8.0)
plan.with_messages().save(pathlib.Path("plan.csv"), dialect="torch")
run: hb.Run = plan.simulate(cost=np.ones((8, 3)), latency=0.5)
starts = run.starts
total: float = float(starts.sum()) + max(run.peak_held) + run.makespan
spans: list[hb.Span] = run.critical_path()
memory: list[hb.RankMemory] | None = run.memory
if memory is not None:
    peak: int = memory[0].peak
texts: list[str] = [finding.text for finding in plan.check_for_torch()]
names: list[str] = [family.name for family in hb.families()]
table = run.to_pandas()
drawing: str = plan.svg() + run.html()
try:
    hb.load("plan.csv")
except hb.ScheduleError as error:
    place: tuple[int | None, int | None, str | None] = (error.rank, error.position, error.action)

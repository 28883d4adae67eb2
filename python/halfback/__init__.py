"""Pipeline-parallel schedules as data: build, verify, simulate, draw and exchange them with PyTorch.

    import halfback as hb

    plan = hb.build("zb-v", ranks=4, micro_batches=8)
    plan.verify(channel="2")
    run = plan.simulate(cost="1,1,0.8", latency=0.05)
    print(run.makespan, run.bubble_fraction, max(run.peak_held))
    plan.with_messages().save("plan.csv", dialect="torch")

A schedule is a list of actions for each rank. An action is text as in PyTorch's pipelining: ``"2F0"``
is the forward of micro-batch 0 on stage 2; ``I`` and ``W`` are the two halves of a backward, the
gradient of the input and that of the weights; ``B`` is both in one.
"""

from ._core import (
    KINDS,
    Family,
    RankMemory,
    Run,
    Schedule,
    Span,
    TorchFinding,
    __version__,
    build,
    families,
    load,
    parse,
)
from .errors import ConfigError, Error, FileError, ScheduleError

__all__ = [
    "KINDS",
    "ConfigError",
    "Error",
    "Family",
    "FileError",
    "RankMemory",
    "Run",
    "Schedule",
    "ScheduleError",
    "Span",
    "TorchFinding",
    "__version__",
    "build",
    "families",
    "load",
    "parse",
]

"""PyTorch's schedule runtime with a schedule of Halfback."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.distributed.pipelining import PipelineStage
from torch.distributed.pipelining.schedules import _Action, _PipelineScheduleRuntime

import halfback as hb


def runtime(
    stages: Sequence[PipelineStage],
    plan: hb.Schedule,
    loss: Callable[..., torch.Tensor],
    *,
    channel: str = "buffered",
    **options: Any,
) -> _PipelineScheduleRuntime:
    """PyTorch's runtime, ready to ``step()``, with the lists of a verified schedule.

    Args:
        stages: those of this rank, as ``plan.stages_of(rank)`` numbers them.
        plan: the schedule. If it has no messages, they are added in an order that runs over the channels.
        loss: ``loss(output, target)`` of a micro-batch, as PyTorch's schedules take it.
        channel: what moves the messages: ``"buffered"`` for Gloo, ``"nccl-pair"`` for NCCL; see
            ``halfback.Schedule.verify``.
        options: of PyTorch's runtime, such as ``scale_grads``.

    Raises:
        halfback.ScheduleError: if the lists do not run over these channels: there, ranks would wait forever.
        halfback.ConfigError: if PyTorch would refuse the schedule or run it wrongly, and if the stages are not
            those of the plan.
    """
    if not stages:
        raise hb.ConfigError("runtime: no stages; give those of this rank")
    first = stages[0]
    if (plan.num_ranks, plan.num_stages) != (first.group_size, first.num_stages):
        raise hb.ConfigError(
            f"runtime: the plan has {plan.num_stages} stages on {plan.num_ranks} ranks, and there are "
            f"{first.num_stages} on {first.group_size}; build one for these"
        )
    found, expected = sorted(stage.stage_index for stage in stages), sorted(plan.stages_of(first.group_rank))
    if found != expected:
        raise hb.ConfigError(f"runtime: rank {first.group_rank} has the stages {found}; in the plan it has {expected}; make those")
    lowered = plan.with_messages(channel)
    lowered.verify(channel)
    faults = lowered.check_for_torch()
    if faults:
        raise hb.ConfigError("runtime: PyTorch does not run the plan as it should: " + "; ".join(one.text for one in faults))
    made = _PipelineScheduleRuntime(list(stages), plan.num_micro_batches, loss_fn=loss, **options)
    rows = lowered.to_csv(dialect="torch").splitlines()
    if lowered.num_messages == 0:  # of one rank: PyTorch scales gradients in an action that only lists with messages have
        rows = [",".join([row, *(f"{stage}REDUCE_GRAD" for stage in expected)]) for row in rows]
    actions = {rank: [_Action.from_str(cell) for cell in row.split(",")] for rank, row in enumerate(rows)}
    made._prepare_schedule_with_comms(actions, format="compute_comms")
    return made

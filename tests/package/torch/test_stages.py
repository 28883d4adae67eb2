"""Schedules of Halfback in PyTorch's runtime, over processes: the bits of eager, for every family that it can run."""

import os
import pathlib
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import halfback as hb
from halfback.torch import SplitStage, runtime

HERE = pathlib.Path(__file__).parent


def torchrun(processes, *arguments, program=HERE / "stages.py"):
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), str(program), *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def families(ranks):
    """Those that PyTorch can run on so many ranks."""
    found = []
    for family in hb.families():
        try:
            plan = hb.build(family.name, ranks=ranks)
        except hb.ConfigError:  # needs more ranks
            continue
        if not plan.check_for_torch():
            found.append(family.name)
    return found


def expect_done(done, names, processes):
    assert done.returncode == 0, done.stdout + done.stderr
    assert "differs" not in done.stdout, done.stdout
    for name in names:
        for rank in range(processes):
            assert f"done {name} on rank {rank}" in done.stdout, done.stdout


def test_every_family_has_the_bits_of_eager_on_two_processes():
    """Several tensors travel too, and plans run with the stages of torch, too."""
    names = families(2)
    assert len(names) > 15
    names += [f"{name}:ours:streams" for name in ("1f1b", "zb-h1", "zb-v")]
    names += [f"{name}:torch:streams" for name in ("1f1b", "interleaved-1f1b")]
    expect_done(torchrun(2, *names), names, 2)


def test_every_family_has_the_bits_of_eager_on_four_processes():
    names = families(4)
    expect_done(torchrun(4, *names), names, 4)


def test_a_view_as_output_is_what_the_halves_of_torch_refuse():
    """So the stages of the test of every family, whose blocks end in nn.Linear with a bias, run with ours only."""
    done = torchrun(2, "interleaved-1f1b:torch:block")
    assert done.returncode != 0
    assert "Can't detach views in-place" in done.stderr


def stage(module=None, number=0, count=1, **options):
    return SplitStage(module or nn.Linear(4, 4), number, count, torch.device("cpu"), **options)


def plan(name="1f1b", **options):
    return hb.build(name, ranks=1, micro_batches=2, **options)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: runtime([], plan(), F.mse_loss), hb.ConfigError, "no stages"),
        (
            lambda: runtime([stage()], hb.build("1f1b", ranks=2), F.mse_loss),
            hb.ConfigError,
            "the plan has 2 stages on 2 ranks, and there are 1 on 1",
        ),
        (
            lambda: runtime([stage(count=2)], plan("interleaved-1f1b", stages_per_rank=2), F.mse_loss),
            hb.ConfigError,
            r"rank 0 has the stages \[0\]; in the plan it has \[0, 1\]",
        ),
        (lambda: runtime([stage()], plan("local-greedy"), F.mse_loss), hb.ConfigError, "no place|updates a stage"),
        (lambda: runtime([stage()], plan(), F.mse_loss, channel="udp"), hb.ConfigError, "udp"),
        (lambda: stage(halves="both"), hb.ConfigError, "expected split or together"),
        (lambda: stage(dw_builder=lambda: None), hb.ConfigError, "dw_builder splits a backward by hand"),
        (lambda: stage(nn.parallel.DistributedDataParallel(nn.Linear(4, 4))), hb.ConfigError, "DistributedDataParallel sums gradients by hooks"),
    ],
)
def test_what_cannot_run_is_refused(one_process, call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_messages_in_an_order_that_would_hang_are_refused(one_process):
    """Both ranks send before they receive, on channels without room."""
    early = hb.parse("0F0,0SEND_F0,0F1,0SEND_F1,0RECV_B0,0B0,0RECV_B1,0B1\n1RECV_F0,1F0,1B0,1SEND_B0,1RECV_F1,1F1,1B1,1SEND_B1\n")
    assert early.runs_on("buffered")
    assert not early.runs_on("rendezvous")
    with pytest.raises(hb.ScheduleError, match="wait for each other"):
        early.verify("rendezvous")


def test_a_step_and_an_evaluation(one_process):
    torch.manual_seed(0)
    module = nn.Linear(4, 4)
    schedule = runtime([stage(module)], plan(), F.mse_loss)
    x, target = torch.randn(4, 4), torch.randn(4, 4)
    losses = []
    output = schedule.step(x, target=target, losses=losses)
    assert torch.equal(output, module(x))
    assert len(losses) == 2
    gradient = module.weight.grad.clone()
    sum(F.mse_loss(module(a), b) for a, b in zip(x.chunk(2), target.chunk(2))).div(2).backward()
    torch.testing.assert_close(module.weight.grad - gradient, gradient)  # scaled, as over several ranks
    gradient = module.weight.grad.clone()
    with torch.no_grad():
        assert torch.equal(schedule.eval(x, target=target), module(x))
    assert torch.equal(module.weight.grad, gradient)


def test_an_error_of_the_user_arrives_with_its_cause(one_process):
    class Broken(nn.Module):
        def forward(self, x):
            raise ValueError("no such luck")

    schedule = runtime([stage(Broken())], plan(), F.mse_loss)
    with pytest.raises(Exception, match="no such luck|failed to run forward") as caught:
        schedule.step(torch.randn(4, 4), target=torch.randn(4, 4))
    causes, error = [], caught.value
    while error is not None:
        causes.append(str(error))
        error = error.__cause__ or error.__context__
    assert any("no such luck" in cause for cause in causes)



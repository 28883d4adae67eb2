"""Pipeline: what users meet besides the bits, which test_families.py compares."""

import gc
import re
import signal
import subprocess
import sys
import threading
import time
import traceback

import models
import pipelines
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import halfback as hb
from halfback.torch import Pipeline, cut

pytestmark = pytest.mark.usefixtures("one_thread")


def plan_of(name="1f1b", ranks=2):
    return hb.build(name, ranks=ranks, micro_batches=pipelines.MICRO_BATCHES)


def test_dropout_leaves_the_generator_of_the_caller_alone():
    model, x, y, further, loss = pipelines.make("dropout")
    with Pipeline(cut(model, 2), plan_of(), loss) as pipeline:
        before = torch.get_rng_state()
        pipeline.step(x, target=y, **further)
        assert torch.equal(torch.get_rng_state(), before)


def simple(loss=None, parts=None, **options):
    parts = parts or cut(models.linears(), 2)
    return Pipeline(parts, plan_of(), loss or (lambda y, t: F.mse_loss(y, t, reduction="sum")), **options)


def batch():
    return torch.randn(pipelines.BATCH, models.WIDTH), torch.randn(pipelines.BATCH, models.WIDTH)


def test_evaluation_runs_in_eval_mode_and_returns_outputs():
    model, x, y, _, loss = pipelines.make("resnet")
    with Pipeline(cut(model, 2), plan_of(), loss) as pipeline:
        pipeline.step(x, target=y)
        found = pipeline.evaluate(x, target=y)
        twin = models.resnet()
        twin.load_state_dict(pipeline.state_dict())
        twin.eval()
        with torch.no_grad():
            outputs = torch.cat([twin(one) for one in x.tensor_split(8)])
        assert torch.equal(found.outputs, outputs)
        assert found.loss == pytest.approx(F.cross_entropy(outputs, y).item(), rel=1e-6)
        assert all(one.training for one in model.modules())


def test_a_step_tells_when_every_action_ran():
    x, y = batch()
    with simple() as pipeline:
        spans = pipeline.step(x, target=y).spans
    for rank, row in enumerate(plan_of().to_csv(dialect="torch").splitlines()):
        ran = [action for at, action, _, _ in spans if at == rank]
        assert [one for one in ran if "SEND" not in one and "RECV" not in one] == row.split(",")
    assert all(0 <= start <= end for _, _, start, end in spans)


def test_clipping_is_that_of_torch():
    model, x, y, further, loss = pipelines.make("linears")
    eager, *_ = pipelines.make("linears")
    pipelines.eager_step(eager, x, y, further, loss)
    norm = torch.nn.utils.clip_grad_norm_(eager.parameters(), 0.1)
    with Pipeline(cut(model, 2), plan_of(), loss) as pipeline:
        pipeline.step(x, target=y)
        assert pipeline.clip_grad_norm_(0.1) == pytest.approx(norm.item(), rel=1e-5)
        for mine, theirs in zip(model.parameters(), eager.parameters()):
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-5, atol=1e-8)


def test_a_state_goes_out_and_in():
    x, y = batch()
    with simple() as pipeline:
        first = pipeline.step(x, target=y).loss
        state = pipeline.state_dict()
        assert state.keys() == models.linears().state_dict().keys()
        with torch.no_grad():
            for one in pipeline.parameters():
                one.zero_()
        assert pipeline.step(x, target=y).loss != first
        pipeline.load_state_dict(state)
        assert pipeline.step(x, target=y).loss == first
        with pytest.raises(hb.ConfigError, match="is missing; give the state of the whole model"):
            pipeline.load_state_dict({})


def test_the_state_of_modules_of_ones_own_is_that_of_a_sequential():
    x, y = batch()
    parts = [nn.Linear(models.WIDTH, models.WIDTH) for _ in range(2)]
    with simple(parts=parts) as pipeline:
        pipeline.step(x, target=y)
        state = pipeline.state_dict()
        whole = nn.Sequential(*parts).state_dict()
        assert state.keys() == whole.keys() and all(torch.equal(state[name], whole[name]) for name in state)
        assert [name for name, _ in pipeline.named_parameters()] == list(whole)
        pipeline.load_state_dict({name: torch.full_like(one, int(name[0])) for name, one in state.items()})
        assert all(torch.equal(one, torch.full_like(one, int(name[0]))) for name, one in pipeline.named_parameters())


def test_autocast_of_the_caller_counts_on_every_rank():
    x, y = batch()
    seen = []

    class Watch(nn.Linear):
        def forward(self, x):
            seen.append(super().forward(x).dtype)
            return super().forward(x).float()

    def loss(y, t):
        return F.mse_loss(y.float(), t, reduction="sum")

    parts = [Watch(models.WIDTH, models.WIDTH) for _ in range(2)]
    with simple(loss, parts) as pipeline, torch.autocast("cpu", dtype=torch.bfloat16):
        pipeline.step(x, target=y)
    assert set(seen) == {torch.bfloat16}


class Failing(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(models.WIDTH, models.WIDTH)

    def forward(self, x):
        raise ValueError("no such row")


class Interrupting(nn.Linear):
    """As Ctrl-C, while a micro-batch is in forward."""

    def forward(self, x):
        signal.raise_signal(signal.SIGINT)
        time.sleep(1)  # Python's handler runs on the main thread, soon
        return super().forward(x)


@pytest.mark.parametrize("ranks", [1, 2])
def test_an_error_in_forward_says_where_and_keeps_its_traceback(ranks):
    x, y = batch()
    parts = [nn.Linear(models.WIDTH, models.WIDTH) for _ in range(ranks - 1)] + [Failing()]
    with Pipeline(parts, plan_of("1f1b", ranks), lambda y, t: F.mse_loss(y, t, reduction="sum"), timeout=20) as pipeline:
        with pytest.raises(hb.Error) as raised:
            pipeline.step(x, target=y)
        assert re.fullmatch(rf"rank {ranks - 1}, position \d, {ranks - 1}F0: ValueError: no such row", str(raised.value))
        assert isinstance(raised.value.__cause__, ValueError)
        assert "in forward" in "".join(traceback.format_exception(raised.value.__cause__))
        with pytest.raises(hb.Error, match="failed before; make a new one"):
            pipeline.step(x, target=y)


@pytest.mark.parametrize("ranks", [1, 2])
def test_an_interrupt_ends_a_step(ranks):
    x, y = batch()
    parts = [Interrupting(models.WIDTH, models.WIDTH) for _ in range(ranks)]
    with Pipeline(parts, plan_of("1f1b", ranks), lambda y, t: F.mse_loss(y, t, reduction="sum"), timeout=20) as pipeline:
        with pytest.raises(KeyboardInterrupt):
            pipeline.step(x, target=y)


def test_the_settings_of_the_process_stay():
    x, y = batch()
    torch.set_num_threads(2)
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.is_grad_enabled()
    with simple() as pipeline:
        pipeline.step(x, target=y)
    assert before == (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.is_grad_enabled())


def test_one_rank_runs_on_the_thread_of_the_caller():
    x, y = batch()
    seen = set()

    class Watch(nn.Linear):
        def forward(self, x):
            seen.add(threading.get_ident())
            return super().forward(x)

    loss = lambda y, t: F.mse_loss(y, t, reduction="sum")  # noqa: E731
    with Pipeline([Watch(models.WIDTH, models.WIDTH)], plan_of("1f1b", 1), loss) as pipeline:
        pipeline.step(x, target=y)
    assert seen == {threading.get_ident()}


def test_a_closed_pipeline_says_so():
    x, y = batch()
    with simple() as pipeline:
        pipeline.step(x, target=y)
    pipeline.close()
    with pytest.raises(hb.Error, match="the pipeline is closed; make a new one"):
        pipeline.step(x, target=y)


def test_a_pipeline_that_is_dropped_ends():
    x, y = batch()
    for _ in range(3):
        pipeline = simple()
        pipeline.step(x, target=y)
        del pipeline
        gc.collect()
    program = (
        "import torch, halfback as hb, torch.nn.functional as F; from halfback.torch import Pipeline\n"
        "parts = [torch.nn.Linear(4, 4) for _ in range(2)]\n"
        "p = Pipeline(parts, hb.build('1f1b', ranks=2, micro_batches=4), lambda y, t: F.mse_loss(y, t, reduction='sum'))\n"
        "print(p.step(torch.ones(4, 4), target=torch.ones(4, 4)).loss)"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0


def test_processes_without_the_variables_of_torchrun_are_refused(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    with pytest.raises(hb.ConfigError, match="torch.distributed has 2 processes, and WORLD_SIZE is not set; start them with torchrun"):
        simple()


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: Pipeline(cut(models.linears(), 3), plan_of(), F.mse_loss), "there are 3, and the plan has 2 stages"),
        (lambda: simple().step(torch.ones(4, 16), target=torch.ones(4, 16)), "4 samples and 4 targets for 8 micro-batches"),
        (lambda: simple().step(torch.ones(16, 16), target=torch.ones(9, 16)), "16 samples and 9 targets"),
        (lambda: simple(F.mse_loss).step(*[torch.ones(16, 16)], target=torch.ones(16, 16), mask=torch.ones(16)), "unexpected keyword"),
        (lambda: simple(lambda y, t: y.sum(0)).step(torch.ones(16, 16), target=torch.ones(16, 16)), "a tensor of 16 elements"),
        (lambda: simple(parts=[nn.Linear(16, 16), nn.Linear(16, 16).double()]), "the parameters of a pipeline have one type"),
        (lambda: simple(parts=[nn.BatchNorm1d(16, momentum=None), nn.Linear(16, 16)]), "give it a momentum"),
        (lambda: simple(timeout=-1), "timeout"),
    ],
)
def test_what_cannot_be_says_so(call, text):
    with pytest.raises(hb.Error, match=re.escape(text)):
        call()


def test_a_fork_ends_without_the_pipeline_of_its_parent():
    program = (
        "import os, torch, halfback as hb, torch.nn.functional as F; from halfback.torch import Pipeline\n"
        "parts = [torch.nn.Linear(4, 4) for _ in range(2)]\n"
        "p = Pipeline(parts, hb.build('1f1b', ranks=2, micro_batches=4), lambda y, t: F.mse_loss(y, t, reduction='sum'))\n"
        "p.step(torch.ones(4, 4), target=torch.ones(4, 4))\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    try:\n"
        "        p.step(torch.ones(4, 4), target=torch.ones(4, 4))\n"
        "    except hb.Error as error:\n"
        "        assert 'belongs to the process that this one is a fork of' in str(error)\n"
        "        p.close()\n"
        "        raise SystemExit(7)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7\n"
        "p.step(torch.ones(4, 4), target=torch.ones(4, 4))"
    )
    done = subprocess.run([sys.executable, "-c", program], timeout=120, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

"""Pipeline: several tensors with gradients between stages, and what is known of bytes, costs and time."""

import contextlib
import gc
import json
import re

import models
import pipelines
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import halfback as hb
from halfback.torch import Pipeline, cut

WIDTH, MICRO_BATCHES = 16, 8


class Enter(nn.Module):
    """Numbers and classes in; a hidden state, a skip and the classes out."""

    def __init__(self):
        super().__init__()
        self.linear, self.table = nn.Linear(WIDTH, WIDTH), nn.Embedding(4, WIDTH)

    def forward(self, x, classes):
        h = torch.tanh(self.linear(x) + self.table(classes))
        return h, h, classes


class Down(nn.Module):
    """One more skip, on top of those that pass."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, h, *skips):
        h = F.gelu(self.linear(h))
        return h, h * 2, *skips


class Up(nn.Module):
    """One skip less: the one on top joins the hidden state."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, h, top, *skips):
        h = self.linear(torch.cat([h, top], -1))
        return (h, *skips) if skips else h


class Leave(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(4, WIDTH)

    def forward(self, h, classes):
        return h * self.table(classes)


def skips():
    """As a U-Net: up to three skips with gradients, and classes without one, pass between modules."""
    torch.manual_seed(3)
    return [Enter(), Down(), Down(), Up(), Up(), Up(), Leave()]


def squares(y, t):
    return F.mse_loss(y, t, reduction="sum")


@contextlib.contextmanager
def no_collection():
    """What Python's collector frees of earlier pipelines was counted to the same ranks: it is gone before, and nothing goes meanwhile."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def run(modules, x, classes):
    values = (x, classes)
    for one in modules:
        values = one(*values)
        values = values if isinstance(values, tuple) else (values,)
    return values[0]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("name", "ranks"), [("1f1b", 1), ("1f1b", 2), ("zb-h1", 3), ("zb-v", 2), ("interleaved-1f1b", 3), ("1f1b", 7)])
def test_skips_have_the_bits_of_eager_wherever_they_are_cut(name, ranks):
    plan = hb.build(name, ranks=ranks, micro_batches=9 if ranks == 3 else MICRO_BATCHES)
    x, t, classes = torch.randn(18, WIDTH), torch.randn(18, WIDTH), torch.randint(0, 4, (18,))
    ours, eager = skips(), skips()
    parts = cut(ours, plan.num_stages)
    with Pipeline(parts, plan, squares, threads=1) as pipeline:
        for _ in range(2):
            found = pipeline.step(x, classes, target=t)
        outputs = pipeline.evaluate(x, classes, target=t).outputs
    total = 0.0
    number = plan.num_micro_batches
    for part in zip(x.tensor_split(number), classes.tensor_split(number), t.tensor_split(number)):
        loss = squares(run(eager, part[0], part[1]), part[2])
        total += loss.item()
        (loss / t.numel()).backward()
    assert found.loss == total / t.numel()
    for mine, theirs in zip(nn.ModuleList(ours).named_parameters(), nn.ModuleList(eager).parameters(), strict=True):
        assert torch.equal(mine[1].grad, theirs.grad), mine[0]
    torch.testing.assert_close(outputs, run(eager, x, classes))


@pytest.mark.parametrize("case", ["blocks", "resnet", "llama"])
@pytest.mark.parametrize(("name", "ranks"), [("1f1b", 1), ("zb-h1", 2), ("zb-v", 2), ("gpipe", 3)])
def test_bytes_are_predicted_before_a_step_and_counted_in_it(case, name, ranks):
    model, x, y, further, loss = pipelines.make(case)
    for mask in further.values():
        mask[:, 4:] = 0  # in every micro-batch: transformers makes no mask of ones alone
    plan = hb.build(name, ranks=ranks, micro_batches=MICRO_BATCHES)
    parts = cut(model, plan.num_stages)
    held = sum(one.nbytes for part in parts for one in [*part.parameters(), *part.buffers()])
    with Pipeline(parts, plan, loss, threads=1, count_bytes=True) as pipeline:
        pipeline.measure_memory(x, target=y, **further)  # modules that make tables make them now
        memory = pipeline.measure_memory(x, target=y, **further)
        with no_collection():
            step = pipeline.step(x, target=y, **further)
    predicted = step.schedule.simulate(memory=memory).memory
    assert [one.peak for one in predicted] == step.activations
    assert sum(one.parameters for one in predicted) == held
    assert sum(one.parameter_gradients for one in predicted) == sum(one.nbytes for one in model.parameters())


def test_measuring_changes_nothing_but_gradients():
    found = []
    for measures in (False, True):
        model, x, y, _, loss = pipelines.make("resnet")
        with Pipeline(cut(model, 2), hb.build("1f1b", ranks=2, micro_batches=MICRO_BATCHES), loss, threads=1) as pipeline:
            optimizer = torch.optim.SGD(pipeline.parameters(), 0.1)
            losses = []
            for _ in range(3):
                losses.append(pipeline.step(x, target=y).loss)
                optimizer.step()
                if measures:
                    pipeline.measure_memory(x, target=y)
                    assert all(one.grad is None for one in pipeline.parameters())
                    with pytest.raises(hb.ConfigError, match="there are no gradients yet; call it after a step"):
                        pipeline.clip_grad_norm_(1.0)
            found.append((losses, pipeline.state_dict()))
    (losses, state), (others, other) = found
    assert losses == others and all(torch.equal(one, other[name]) for name, one in state.items())


def test_a_step_has_a_page_and_costs():
    model, x, y, further, loss = pipelines.make("linears")
    plan = hb.build("1f1b", ranks=2, micro_batches=MICRO_BATCHES)
    with Pipeline(cut(model, 2), plan, loss) as pipeline:
        memory = pipeline.measure_memory(x, target=y, **further)
        step = pipeline.step(x, target=y, **further)
    for page, unit in ((step.html(), "M_B"), (step.html(memory), "bytes")):
        data = json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.S)[1])
        assert [track["name"] for track in data["tracks"]] == ["predicted", "measured"]
        assert data["memory_unit"] == unit
    costs = step.costs()
    assert len(costs["stages"]) == 2 and all(one["forward"] > 0 for one in costs["stages"])
    assert 0 < plan.simulate(cost=costs).makespan < 60 * step.seconds
    with pytest.raises(hb.ConfigError, match="they are not those of the schedule's actions"):
        step.schedule.step_html(step.spans[1:])
    with pytest.raises(hb.ConfigError, match="they are not those of the schedule's actions"):
        plan.step_costs(step.spans)  # the messages are not in it
    with pytest.raises(hb.ConfigError, match="rank 2; the ranks of the schedule are 0 to 1"):
        step.schedule.step_costs([(2, "0F0", 0.0, 1.0)])


def test_the_fields_of_a_model_are_those_of_its_stages():
    parts = cut(models.linears(), 2)
    plan = hb.build("1f1b", ranks=2, micro_batches=MICRO_BATCHES)
    with Pipeline(parts, plan, squares) as pipeline:
        memory = pipeline.measure_memory(torch.randn(16, WIDTH), target=torch.randn(16, WIDTH))
    assert len(memory["stages"]) == 2
    first, last = memory["stages"]
    rows = 2 * WIDTH * 4  # bytes of one tensor of a micro-batch
    assert first["activation_message"] == 0 and last["activation_message"] == rows
    assert first["gradient_message"] == rows and last["gradient_message"] == 0

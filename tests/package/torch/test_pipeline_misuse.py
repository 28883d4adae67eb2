"""Pipeline: what would train something else than the user means, and does not show it."""

import re
import weakref

import models
import pipelines
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import halfback as hb
from halfback.torch import Pipeline, cut
from halfback.torch.checks import fingerprint
from halfback.torch.pipeline import copies_of, drop_memory, give_originals

pytestmark = pytest.mark.usefixtures("one_thread")

WIDTH = models.WIDTH


def squares(y, t):
    return F.mse_loss(y, t, reduction="sum")


def plan_of(ranks=2):
    return hb.build("1f1b", ranks=ranks, micro_batches=pipelines.MICRO_BATCHES)


def simple(parts=None, loss=squares, **options):
    return Pipeline(parts or cut(models.linears(), 2), plan_of(), loss, **options)


def batch():
    return torch.randn(pipelines.BATCH, WIDTH), torch.randn(pipelines.BATCH, WIDTH)


class Adding(nn.Linear):
    def forward(self, x, more=0):
        return super().forward(x) + more


@pytest.mark.parametrize("rows", [8, 3, 1])
def test_inputs_have_a_row_for_each_sample(rows):
    """Eight rows for eight micro-batches would be broadcast to the pairs of the other input."""
    x, y = batch()
    with simple(cut([Adding(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)], 2)) as pipeline:
        with pytest.raises(hb.ConfigError, match=re.escape(f"input 1 has shape [{rows}, 16], and input 0 16 samples")):
            pipeline.step(x, torch.randn(rows, WIDTH), target=y)
        pipeline.step(x, torch.randn(16, WIDTH), target=y)


@pytest.mark.parametrize("where", ["input", "target", "keyword"])
def test_what_computes_an_input_has_to_be_in_a_stage(where):
    """Its gradient would be lost."""
    x, y = batch()
    outside = nn.Linear(WIDTH, WIDTH)
    given = {"input": (outside(x), y, 0), "target": (x, outside(y), 0), "keyword": (x, y, {"deep": [outside(x)]})}[where]
    with simple() as pipeline:
        with pytest.raises(hb.ConfigError, match=re.escape("shape [16, 16] among inputs, target and keywords requires a gradient")):
            pipeline.step(given[0], target=given[1], **({"more": given[2]} if where == "keyword" else {}))
        pipeline.step(outside(x).detach(), target=y)
        pipeline.evaluate(outside(x), target=y)


@pytest.mark.parametrize("given", [None, [1.0], {"y": 1}])
def test_inputs_and_targets_are_tensors(given):
    x, y = batch()
    with simple() as pipeline:
        with pytest.raises(hb.ConfigError, match=f"step: target is of type {type(given).__name__}; give a tensor"):
            pipeline.step(x, target=given)
        with pytest.raises(hb.ConfigError, match=f"step: input 0 is of type {type(given).__name__}; give a tensor"):
            pipeline.evaluate(given, target=y)


def test_clipping_twice_is_clipping_once():
    x, y = batch()
    with simple() as pipeline:
        norm = pipeline.step(x, target=y).gradient_norm
        assert pipeline.clip_grad_norm_(0.1) == norm
        once = [one.grad.clone() for one in pipeline.parameters()]
        assert pipeline.clip_grad_norm_(0.1) == pytest.approx(0.1, rel=1e-4)
        assert all(torch.allclose(one, two.grad, rtol=1e-4) for one, two in zip(once, pipeline.parameters(), strict=True))
        assert pipeline.clip_grad_norm_(0.01) == pytest.approx(0.1, rel=1e-4)
        found = torch.cat([one.grad.flatten() for one in pipeline.parameters()]).norm()
        assert found.item() == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("begins", ["in training mode", "in evaluation mode", "with a rate of 0", "measured in evaluation mode"])
def test_dropout_that_is_turned_on_later_has_the_numbers_of_the_seed(begins):
    """It would draw from the generator of the process, in no order."""
    x, y = batch()
    torch.manual_seed(5)
    parts = [nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Dropout(0.5)) for _ in range(2)]
    with simple(parts) as pipeline:
        for part in parts:
            part.train("evaluation" not in begins)
            part[1].p = 0.0 if "rate" in begins else 0.5
        (pipeline.measure_memory if "measured" in begins else pipeline.step)(x, target=y)
        if "measured" in begins:
            pipeline.step(x, target=y)
        for part in parts:
            part.train()
            part[1].p = 0.5
        before = torch.get_rng_state()
        found = pipeline.step(x, target=y).loss
        assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(5)
    parts = [nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Dropout(0.5)) for _ in range(2)]
    with simple(parts) as pipeline:
        pipeline.step(x, target=y)
        assert pipeline.step(x, target=y).loss == found


def test_a_loss_takes_one_tensor():
    """The second, as an auxiliary loss, would be left out."""

    class Two(nn.Linear):
        def forward(self, x):
            y = super().forward(x)
            return y, y.square().mean()

    x, y = batch()
    with simple([nn.Linear(WIDTH, WIDTH), Two(WIDTH, WIDTH)]) as pipeline:
        with pytest.raises(hb.Error, match="1F0: ConfigError: stage 1 returns 2 tensors, and a loss takes one"):
            pipeline.step(x, target=y)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(7)
        self.table = nn.Embedding(10, WIDTH)
        self.blocks = nn.ModuleList([nn.Linear(WIDTH, WIDTH) for _ in range(4)])
        self.head = nn.Linear(WIDTH, 10, bias=False)
        self.head.weight = self.table.weight

    def forward(self, ids):
        h = self.table(ids)
        for block in self.blocks:
            h = torch.tanh(block(h))
        return self.head(h)


def test_an_optimizer_and_a_state_of_the_model_reach_tied_weights_too():
    """Later stages have copies of them, which the model does not have."""
    def loss(y, t):
        return F.cross_entropy(y.flatten(0, 1), t.flatten(), reduction="sum")

    model, eager = Tied(), Tied()
    optimizer, twin = (torch.optim.AdamW(one.parameters(), 1e-2) for one in (model, eager))
    ids = torch.randint(0, 10, (16, 3))
    with Pipeline(cut(model, 2), plan_of(), loss) as pipeline:
        for _ in range(3):
            found = pipeline.step(ids, target=ids).loss
            twin.zero_grad()
            value = loss(eager(ids), ids) / ids.numel()
            value.backward()
            assert found == pytest.approx(value.item(), rel=1e-5)
            optimizer.step()
            twin.step()
        state = pipeline.state_dict()
        assert all(torch.equal(one, state[name]) for name, one in model.state_dict().items())
        model.load_state_dict(Tied().state_dict())
        assert pipeline.evaluate(ids, target=ids).loss == pytest.approx((loss(Tied()(ids), ids) / ids.numel()).item(), rel=1e-5)
        assert all(torch.equal(one, model.table.weight) for name, one in pipeline.named_parameters() if "table" in name or "head" in name)


def test_a_parameter_that_is_trained_later_needs_a_new_pipeline():
    x, y = batch()
    model = models.linears()
    model[0].requires_grad_(False)
    parts = cut(model, 2)
    with simple(parts) as pipeline:
        pipeline.step(x, target=y)
        model[0].requires_grad_(True)
        with pytest.raises(hb.ConfigError, match=r"stage 0: model\.0\.weight requires a gradient, and did not when"):
            pipeline.step(x, target=y)
    with simple(parts) as pipeline:
        pipeline.step(x, target=y)
        assert model[0].weight.grad is not None


def test_one_thread_runs_a_pipeline_at_a_time():
    x, y = batch()
    found = []

    class Calling(nn.Linear):
        def forward(self, x):
            if not found:
                with pytest.raises(hb.Error, match="another thread runs this pipeline"):
                    pipeline.step(*batch()[:1], target=y)
                found.append(True)
            return super().forward(x)

    with simple([Calling(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)]) as pipeline:
        assert pipeline.step(x, target=y).loss == pipeline.step(x, target=y).loss
    assert found


def test_a_parameter_that_a_graph_holds_cannot_leave_the_process():
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH))
    output = model(torch.randn(2, WIDTH))
    with pytest.raises(hb.ConfigError, match=r"1\.weight of a stage of another process is still in use"):
        drop_memory([model])
    del output
    drop_memory([model])
    assert all(one.is_meta for one in model.parameters())


def test_an_error_of_one_process_does_not_wait_for_the_others(monkeypatch):
    """Its end would be that of all, so it came only after the timeout, and as the error of that."""
    x, y = batch()
    pipeline = simple()
    pipeline.step(x, target=y)
    monkeypatch.setattr(pipeline, "_group", "of several processes")
    ended = weakref.ref(pipeline._engine)
    with pytest.raises(ValueError, match="a broken file"), pipeline:
        raise ValueError("a broken file")
    assert ended() is None
    pipeline.close()
    with pytest.raises(hb.Error, match="the pipeline is closed; make a new one"):
        pipeline.step(x, target=y)


@pytest.mark.parametrize("value", [None, 1.0, (torch.ones(()), 1)])
def test_a_loss_is_a_tensor(value):
    x, y = batch()
    with simple(loss=lambda y, t: value) as pipeline:
        with pytest.raises(hb.Error, match=rf"1F0: ConfigError: the loss returns {type(value).__name__}; return the sum"):
            pipeline.step(x, target=y)


def test_a_number_of_targets_is_whole():
    x, y = batch()
    with simple(count=lambda t: 2.5) as pipeline:
        with pytest.raises(TypeError, match="'float' object cannot be interpreted as an integer"):
            pipeline.step(x, target=y)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_has_the_bits_of_eager(dtype):
    model, eager = models.linears().to(dtype), models.linears().to(dtype)
    x, y = batch()
    in_float = lambda y, t: squares(y.float(), t)  # noqa: E731
    with simple(cut(model, 2), in_float) as pipeline:
        found = pipeline.step(x.to(dtype), target=y)
        norm = pipeline.clip_grad_norm_(1e9)
    assert found.loss == pipelines.eager_step(eager, x.to(dtype), y, {}, in_float)
    assert all(torch.equal(mine.grad, theirs.grad) for mine, theirs in zip(model.parameters(), eager.parameters(), strict=True))
    gradients = [one.grad.double() for one in eager.parameters()]
    assert norm == pytest.approx(torch.nn.utils.get_total_norm(gradients).item(), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_what_is_frozen_has_any_type(dtype):
    model = models.linears().to(dtype)
    model.requires_grad_(False)
    last = nn.Linear(WIDTH, WIDTH)
    x, y = batch()
    with simple([nn.Sequential(model[0], *[nn.Identity()] * 2), last], lambda y, t: squares(y.float(), t)) as pipeline, \
            torch.autocast("cpu", torch.bfloat16):
        pipeline.step(x.to(dtype), target=y)
    assert last.weight.grad.dtype == torch.float32


def test_modules_of_ones_own_do_not_share_parameters():
    one = nn.Linear(WIDTH, WIDTH)
    with pytest.raises(hb.ConfigError, match=re.escape("stage 1: 1.0.weight is the parameter 0.weight of another stage; cut() the")):
        simple([one, nn.Sequential(one, nn.ReLU())])
    x, y = batch()
    with simple(cut([one, nn.Sequential(one, nn.ReLU())], 2)) as pipeline:
        assert pipeline.step(x, target=y).loss > 0


@pytest.mark.parametrize("tensor", [torch.randn(3, 2), torch.tensor(3), torch.tensor([True, False]), torch.rand(5).bfloat16(), torch.empty(0, 2)])
def test_other_values_and_shapes_have_another_fingerprint(tensor):
    assert fingerprint([tensor, tensor]) == fingerprint([tensor.clone(), tensor])
    assert fingerprint([tensor]) != fingerprint([tensor[None]])
    if tensor.numel():
        assert fingerprint([tensor]) != fingerprint([tensor.new_zeros(tensor.shape)])


def test_processes_with_other_batches_are_refused(monkeypatch):
    """As those of a DistributedSampler: one has the inputs, and another the targets."""
    class Group:
        def size(self):
            return 2

    class Done:
        def wait(self, timeout):
            assert timeout.total_seconds() == 20

    def all_gather(found, mine, group, async_op):
        for i, one in enumerate(found):
            one.copy_(mine + i)
        return Done()

    x, y = batch()
    pipeline = simple(timeout=20)
    pipeline._group = Group()
    monkeypatch.setattr(torch.distributed, "all_gather", all_gather)
    with pytest.raises(hb.ConfigError, match="are not the same in all processes; each takes the whole batch"), pipeline:
        pipeline.step(x, target=y)


def test_copies_have_the_values_of_the_process_of_their_original(one_process):
    """Without one seed for all processes a tied head had other values than the table."""
    first, second = cut(Tied(), 2)
    (pair,) = copies_of([first, second])
    copy, original = pair
    torch.nn.init.zeros_(copy)
    give_originals([pair], [first], torch.distributed.group.WORLD)
    assert torch.equal(copy, original) and original.any()

"""What users of other systems complained of in public threads, each as they had it: it works here, or the text says what to do.

A test is named by the thread that it answers.
"""

import copy

import models
import pipelines
import pytest
import torch
import torch.nn.functional as F
from attention import Attention
from test_split import expect_same_gradients
from torch import nn

import halfback as hb
from halfback.torch import Pipeline, Split, SplitStage, cut, runtime

WIDTH, BATCH, MICRO_BATCHES = models.WIDTH, pipelines.BATCH, pipelines.MICRO_BATCHES

pytestmark = pytest.mark.usefixtures("one_thread")


def plan_of(name="zb-h1", ranks=2, micro_batches=MICRO_BATCHES):
    return hb.build(name, ranks=ranks, micro_batches=micro_batches)


def squares(y, target):
    return F.mse_loss(y, target, reduction="sum")


def halves_of(module, eager, x):
    """I, then W, of two micro-batches, beside the whole backward of eager; both graphs wait for W."""
    split, graphs = Split(module), []
    for scale in (1.0, -0.5):
        y, graph = split.forward((x * scale).requires_grad_())
        graphs.append(graph)
        theirs = (x * scale).requires_grad_()
        eager(theirs).backward(torch.ones_like(y))
        (found,) = graph.backward_input(torch.ones_like(y))
        assert torch.equal(found, theirs.grad)
    for graph in graphs:
        graph.backward_weight()
    expect_same_gradients(module, eager)


def step_and_eager(model, eager, x, y, loss, *, plan, **further):
    """The loss of a step has the bits of eager's, and so have gradients."""
    with Pipeline(cut(model, plan.num_stages), plan, loss, threads=1) as pipeline:
        found = pipeline.step(x, target=y, **further)
    expected = pipelines.eager_step(eager, x, y, further, loss, plan.num_micro_batches)
    assert found.loss == expected
    expect_same_gradients(model, eager)


# Zero bubble and torch.compile.


def test_pytorch_161904_zero_bubble_runs_compiled_blocks(one_process):
    """PyTorch's halves fail there, and where each block is compiled by itself its check does not see that."""
    torch.manual_seed(0)
    blocks = [Attention() for _ in range(2)]
    eager = copy.deepcopy(blocks)
    plan = hb.build("zb-v", ranks=1, micro_batches=4)
    parts = [torch.compile(one, backend="aot_eager") for one in blocks]
    stages = [SplitStage(one, i, 2, torch.device("cpu"), halves="together") for i, one in enumerate(parts)]
    x, y = torch.randn(8, 6, WIDTH), torch.randn(8, 6, WIDTH)
    runtime(stages, plan, F.mse_loss).step(x, target=y)
    whole = torch.compile(nn.Sequential(*eager), backend="aot_eager")
    for inputs, target in zip(x.chunk(4), y.chunk(4), strict=True):
        F.mse_loss(whole(inputs), target).backward()
    for block, other in zip(blocks, eager, strict=True):
        for one in other.parameters():
            one.grad.div_(4)
        expect_same_gradients(block, other)


def test_pytorch_143599_a_compiled_module_is_refused_with_the_way_out_and_not_by_a_crash():
    compiled = torch.compile(Attention(), backend="aot_eager")
    with pytest.raises(hb.ConfigError, match="CompiledFunctionBackward.*together"):
        Split(compiled).forward(torch.randn(2, 6, WIDTH, requires_grad=True))


# Inputs without gradients.


class Masked(nn.Module):
    """A block with a mask, positions, and an option that is no tensor."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, x, *, mask, positions, flip=False):
        y = self.linear(x) * mask[..., None] + positions.cos()[..., None]
        return x + (y.flip(-1) if flip else y)


def masks():
    generator = torch.Generator().manual_seed(3)
    mask = torch.randint(0, 2, (BATCH, models.LENGTH), generator=generator)
    positions = torch.rand(BATCH, models.LENGTH, generator=generator)
    return mask, positions


@pytest.mark.parametrize("given", ["whole numbers", "booleans", "a mask that is the same for all"])
def test_deepspeed_3895_a_mask_of_any_type_reaches_every_stage(given):
    """A tensor without gradient ended in "element 1 of tensors does not require grad". #969: a third tensor was dropped."""
    torch.manual_seed(0)
    blocks = [Masked() for _ in range(4)]
    eager = copy.deepcopy(blocks)
    mask, positions = masks()
    mask = {"whole numbers": mask, "booleans": mask.bool(), "a mask that is the same for all": mask[:1]}[given]
    x, y = torch.randn(2, BATCH, models.LENGTH, WIDTH)
    plan = plan_of(ranks=4)
    with Pipeline(blocks, plan, squares, threads=1) as pipeline:
        pipeline.step(x, target=y, mask=mask, positions=positions, flip=True)
    for i in range(MICRO_BATCHES):
        rows = slice(2 * i, 2 * i + 2)
        value = x[rows]
        for one in eager:
            value = one(value, mask=mask[rows] if len(mask) > 1 else mask, positions=positions[rows], flip=True)
        (squares(value, y[rows]) / y.numel()).backward()
    for one, other in zip(blocks, eager, strict=True):
        expect_same_gradients(one, other)


def test_megatron_752_the_mask_of_middle_stages_is_that_of_the_first():
    """It was None there, so that results depended on the number of stages. #861 asks where it comes from."""
    mask, positions = masks()[0], torch.arange(models.LENGTH).flip(0).expand(BATCH, -1)
    _, x, y, _ = pipelines.words_of(None)
    losses = []
    for ranks in (1, 2, 4):
        model, eager = models.llama(tied=False), models.llama(tied=False)
        further = {"attention_mask": mask, "position_ids": positions}
        step_and_eager(model, eager, x, y, pipelines.next_word, plan=plan_of("1f1b", ranks), **further)
        losses.append(pipelines.eager_step(eager, x, y, further, pipelines.next_word))
    assert len(set(losses)) == 1


class BlockMask:
    """As that of flex_attention: an object, and no tensor."""

    def __init__(self, scale):
        self.scale = scale


def test_torchtitan_3584_an_object_as_mask_does_not_break_the_split_backward():
    """PyTorch's halves end in "BlockMask object has no attribute requires_grad"."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(WIDTH, WIDTH)

        def forward(self, x, *, block_mask):
            return torch.tanh(self.linear(x)) * block_mask.scale

    torch.manual_seed(0)
    blocks = [Block() for _ in range(4)]
    eager = copy.deepcopy(blocks)
    x, y = torch.randn(2, BATCH, WIDTH)
    with Pipeline(blocks, plan_of("zb-v"), squares, threads=1) as pipeline:
        pipeline.step(x, target=y, block_mask=BlockMask(0.5))
    for inputs, target in zip(x.chunk(MICRO_BATCHES), y.chunk(MICRO_BATCHES), strict=True):
        for one in eager:
            inputs = one(inputs, block_mask=BlockMask(0.5))
        (squares(inputs, target) / y.numel()).backward()
    for one, other in zip(blocks, eager, strict=True):
        expect_same_gradients(one, other)


# Tied embeddings.


def test_pytorch_51931_tied_layers_have_one_gradient_and_one_value_on_any_stages():
    """Without that the user says where they are. test_families.py compares the bits; here a copy stays one over steps."""
    for name, ranks in (("1f1b", 2), ("zb-v", 2), ("1f1b", 4)):
        model, x, y, further = pipelines.words_of(models.llama(tied=True))
        plan = plan_of(name, ranks)
        with Pipeline(cut(model, plan.num_stages), plan, pipelines.next_word, threads=1) as pipeline:
            optimizer = torch.optim.AdamW(pipeline.parameters(), 1e-2)
            for _ in range(3):
                pipeline.step(x, target=y, **further)
                optimizer.step()
            tables = [one for _, one in pipeline.named_parameters() if one.shape == model.lm_head.weight.shape]
            assert len(tables) == 2
            assert torch.equal(*tables)
            assert torch.equal(tables[0].grad, tables[1].grad)
            model.load_state_dict(pipeline.state_dict())
        assert model.lm_head.weight is model.model.embed_tokens.weight


# Lengths that vary.


def words(length, seed):
    return torch.randint(1, models.WORDS, (BATCH, length), generator=torch.Generator().manual_seed(seed))


def test_deepspeed_3195_lengths_vary_from_step_to_step():
    """There later batches were cut to the shape of the first one."""
    model, eager = models.llama(tied=False), models.llama(tied=False)
    with Pipeline(cut(model, 4), plan_of("zb-v"), pipelines.next_word, threads=1) as pipeline:
        for seed, length in enumerate((6, 9, 4)):
            ids = words(length, seed)
            found = pipeline.step(ids, target=ids)
            assert found.loss == pipelines.eager_step(eager, ids, ids, {}, pipelines.next_word)
            expect_same_gradients(model, eager)


def test_pytorch_159942_the_last_batch_may_be_smaller():
    """Micro-batches then have different numbers of samples."""
    model, eager = models.linears(), models.linears()
    with Pipeline(cut(model, 4), plan_of("zb-v"), squares, threads=1) as pipeline:
        for size in (BATCH, 11, BATCH):
            x, y = torch.randn(2, size, WIDTH)
            assert pipeline.step(x, target=y).loss == pipelines.eager_step(eager, x, y, {}, squares)
            expect_same_gradients(model, eager)


class Padded(nn.Module):
    """Cuts a micro-batch of ids to its longest row, so that stages exchange tensors of different lengths."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(models.WORDS, WIDTH, padding_idx=0)

    def forward(self, ids):
        return self.table(ids[:, : int((ids > 0).sum(1).max())])


def test_megatron_1066_lengths_vary_between_micro_batches_of_a_step():
    """Where messages have one size, most of what is computed can be padding; torchtitan#431 asks for this too."""
    torch.manual_seed(0)
    parts = [Padded(), nn.GRU(WIDTH, WIDTH, batch_first=True), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, models.WORDS)]
    parts[1] = First(parts[1])
    eager = copy.deepcopy(parts)
    ids = words(9, 1)
    for i in range(MICRO_BATCHES):
        ids[2 * i : 2 * i + 2, 2 + i % 5 :] = 0

    def loss(logits, ids):
        return F.cross_entropy(logits.flatten(0, 1), ids[:, : logits.shape[1]].flatten(), ignore_index=0, reduction="sum")

    def count(ids):
        return int((ids > 0).sum())

    with Pipeline(parts, plan_of("zb-v"), loss, count=count, threads=1) as pipeline:
        pipeline.step(ids, target=ids)
    for one in ids.chunk(MICRO_BATCHES):
        (loss(nn.Sequential(*eager)(one), one) / count(ids)).backward()
    for one, other in zip(parts, eager, strict=True):
        expect_same_gradients(one, other)


class First(nn.Module):
    """The first of what a module returns."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        return self.module(x)[0]


# Wrong gradients of a split backward.


def test_pytorch_180952_a_weight_that_is_used_twice_on_a_path_counts_once_for_each_use():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.tensor([[0.4, -0.2], [0.7, 0.3]]))

        def forward(self, x):
            return (x @ self.w @ self.w).sum()

    module = Twice()
    halves_of(module, copy.deepcopy(module), torch.tensor([[1.1, -0.7]]))


def test_pytorch_170277_gradients_of_several_outputs_stay_apart():
    """They were added up, and all given to the first output."""

    class Chunks(nn.Module):
        def __init__(self, sizes):
            super().__init__()
            self.linear, self.sizes = nn.Linear(WIDTH, 2 * WIDTH), sizes

        def forward(self, x):
            one, other = self.linear(x).split(self.sizes, -1)
            return (one * 2).sum(-1) - torch.tanh(other).sum(-1)

    torch.manual_seed(0)
    for sizes in ([WIDTH, WIDTH], [WIDTH // 2, WIDTH + WIDTH // 2]):
        module = Chunks(sizes)
        halves_of(module, copy.deepcopy(module), torch.randn(2, WIDTH))


def test_transformer_engine_3437_two_tied_layers_add_up_when_w_waits():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False))
    module[1].weight = module[0].weight
    halves_of(module, copy.deepcopy(module), torch.randn(2, WIDTH))


# The scale of gradients.


def test_torchtitan_2972_ignored_targets_fall_unevenly_on_micro_batches():
    """Gradients are those of the mean over all targets that count, as without a pipeline."""
    model, eager = models.llama(tied=False), models.llama(tied=False)
    ids = words(8, 2)
    labels = ids.clone()
    for row in range(BATCH):
        labels[row, 8 - row % 7 :] = -100
    labels[4:6] = -100  # a micro-batch without any

    def loss(logits, labels):
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")

    with Pipeline(cut(model, 2), plan_of(), loss, threads=1) as pipeline:
        found = pipeline.step(ids, target=labels)
    expected = F.cross_entropy(eager(ids).logits.flatten(0, 1), labels.flatten())
    expected.backward()
    assert found.loss == pytest.approx(expected.item(), rel=1e-6)
    for one, other in zip(model.parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-7)


def test_torchtitan_1733_gradients_are_those_of_one_step_however_many_were_before():
    """There each step divided what had been accumulated before once more."""
    model, eager = models.linears(), models.linears()
    x, y = torch.randn(2, BATCH, WIDTH)
    with Pipeline(cut(model, 2), plan_of(), squares, threads=1) as pipeline:
        for _ in range(3):
            pipeline.step(x, target=y)
    pipelines.eager_step(eager, x, y, {}, squares)
    expect_same_gradients(model, eager)


def test_torchtitan_547_every_rank_has_the_loss_and_596_the_norm_of_the_whole_model():
    """Ranks besides the last logged -1; each clipped by the norm of its own stages."""
    model, eager = models.linears(), models.linears()
    x, y = torch.randn(2, BATCH, WIDTH)
    with Pipeline(cut(model, 4), plan_of("1f1b", 4), squares, threads=1) as pipeline:
        step = pipeline.step(x, target=y)
        pipeline.clip_grad_norm_(0.1)
    assert step.loss == pipelines.eager_step(eager, x, y, {}, squares)
    norm = nn.utils.clip_grad_norm_(eager.parameters(), 0.1)
    assert step.gradient_norm == pytest.approx(norm.item(), rel=1e-5)
    for one, other in zip(model.parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-5, atol=1e-8)


# Models as they are.


def test_transformers_37129_a_model_of_transformers_trains_as_it_is():
    """Its own loss, its own optimizer; afterwards the model itself has learned, and generates."""
    model, eager = models.llama(tied=True), models.llama(tied=True)
    ids = words(8, 4)
    count = lambda labels: labels[:, 1:].numel()  # noqa: E731
    with Pipeline(cut(model, 2), plan_of("1f1b"), pipelines.next_word, count=count, threads=1) as pipeline:
        optimizers = [torch.optim.AdamW(one, 3e-3) for one in (pipeline.parameters(), eager.parameters())]
        losses = []
        for _ in range(4):
            found = pipeline.step(ids, target=ids)
            eager.zero_grad()
            expected = eager(ids, labels=ids).loss
            expected.backward()
            assert found.loss == pytest.approx(expected.item(), rel=1e-5)
            losses.append(found.loss)
            for one in optimizers:
                one.step()
    assert losses[-1] < losses[0]
    assert model.generate(ids[:1, :3], max_new_tokens=2, do_sample=False).shape == (1, 5)


def test_pytorch_184361_rotary_embeddings_are_in_every_stage():
    parts = cut(models.llama(tied=False), 4)
    assert all(any("rotary" in name for name in one.model_names.values()) for one in parts)


def test_pytorch_153484_frozen_stages_train_the_others():
    """There all parameters and outputs had to require a gradient."""
    model, eager = models.linears(), models.linears()
    for one in (model, eager):
        one[:3].requires_grad_(False)
        one[4].requires_grad_(False)
    x, y = torch.randn(2, BATCH, WIDTH)
    step_and_eager(model, eager, x, y, squares, plan=plan_of())


# Several tensors between stages.


class Down(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        return torch.tanh(self.one(x)), x * 2


class Across(nn.Module):
    """Hands a skip connection on, and adds to it."""

    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x, skip):
        return torch.tanh(self.one(x)), skip + self.other(x)


class Up(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x, skip):
        return self.one(torch.cat([x, skip], -1))


def test_pytorch_127964_skip_connections_run_in_1f1b_and_zero_bubble(one_process):
    """They travel from stage to stage beside the hidden state; #110775 asks for several tensors with gradients."""
    torch.manual_seed(0)
    x, y = torch.randn(2, 8, WIDTH)
    for name, number in (("1f1b", 1), ("zb-v", 2), ("interleaved-1f1b", 4)):
        parts = {1: [Down()], 2: [Down(), Up()], 4: [Down(), Across(), Across(), Up()]}[number]
        eager = copy.deepcopy(parts)
        options = {"stages_per_rank": 4} if number == 4 else {}
        plan = hb.build(name, ranks=1, micro_batches=4, **options)
        stages = [SplitStage(one, i, number, torch.device("cpu")) for i, one in enumerate(parts)]
        runtime(stages, plan, lambda out, target: F.mse_loss(out[0] if isinstance(out, tuple) else out, target)).step(x, target=y)
        for inputs, target in zip(x.chunk(4), y.chunk(4), strict=True):
            value = (inputs,)
            for one in eager:
                value = one(*value)
                value = value if isinstance(value, tuple) else (value,)
            F.mse_loss(value[0], target).backward()
        for one, other in zip(parts, eager, strict=True):
            for parameter in other.parameters():
                parameter.grad.div_(4)
            expect_same_gradients(one, other)


# What is known before a run.


def test_zero_bubble_8_the_memory_of_each_rank_is_known_before():
    """Of sail-sg/zero-bubble-pipeline-parallelism: stages need different memory, and some of them run out of it."""
    plan = plan_of("zb-h2", 4)
    predicted = plan.simulate().peak_held
    held = [0] * 4
    most = [0] * 4
    for rank, actions in enumerate(plan.lists):
        for action in actions:
            held[rank] += ("F" in action) - ("W" in action)
            most[rank] = max(most[rank], held[rank])
    assert predicted == most
    assert max(predicted) == plan.activation_peak
    plan.verify(activation_limit=max(predicted))
    with pytest.raises(hb.ScheduleError, match="M_B"):
        plan.verify(activation_limit=max(predicted) - 1)


def test_pytorch_172668_an_order_that_would_hang_is_found_without_a_run():
    """And shown: the ranks that wait for each other, and where."""
    lists = "0F0,0SEND_F0,0F1,0SEND_F1,0RECV_B0,0B0,0RECV_B1,0B1\n1RECV_F0,1F0,1B0,1SEND_B0,1RECV_F1,1F1,1B1,1SEND_B1\n"
    plan = hb.parse(lists)
    plan.verify("buffered")
    with pytest.raises(hb.ScheduleError) as raised:
        plan.verify("rendezvous")
    assert (raised.value.rank, raised.value.position, raised.value.action) == (0, 3, "0SEND_F1")
    assert "rank 1, position 3: 1SEND_B0 waits for 0RECV_B0 (rank 0, position 4)" in str(raised.value)
    plan.without_messages().with_messages("rendezvous").verify("rendezvous")


@pytest.mark.parametrize("micro_batches", [1, 2, 3])
def test_torchtitan_775_fewer_micro_batches_than_stages_do_not_hang(micro_batches):
    model, eager = models.linears(8), models.linears(8)
    x, y = torch.randn(2, BATCH, WIDTH)
    for name in ("1f1b", "gpipe", "zb-v"):
        step_and_eager(model, eager, x, y, squares, plan=plan_of(name, 4, micro_batches))
    with Pipeline(cut(model, 4), plan_of("1f1b", 4, 3), squares) as pipeline:
        with pytest.raises(hb.ConfigError, match="2 samples and 2 targets for 3 micro-batches"):
            pipeline.step(x[:2], target=y[:2])


def test_pytorch_55036_dropout_does_not_depend_on_the_number_of_stages():
    found = [pipelines.with_dropout(plan_of("1f1b", ranks)) for ranks in (1, 2)]
    assert found[0] == found[1]


def test_megatron_1304_no_block_is_lost_when_stages_are_uneven():
    """30 blocks on 4 stages became 28, silently."""
    parts = cut(models.Meta(6), 4)
    assert [len(one.units) for one in parts] == [2, 2, 1, 1]
    assert [name for one in parts for name in one.units] == [f"layers.{i}" for i in range(6)]
    with pytest.raises(hb.ConfigError, match="5 stages, and 'layers' has 4 units; take at most 4"):
        cut(models.Meta(4), 5)


def test_megatron_1232_a_state_fits_another_number_of_stages():
    x, y = torch.randn(2, BATCH, WIDTH)
    states, losses = [models.linears().state_dict()], []
    for name, ranks in (("1f1b", 2), ("zb-v", 2), ("1f1b", 1)):
        plan = plan_of(name, ranks)
        with Pipeline(cut(models.linears(), plan.num_stages), plan, squares, threads=1) as pipeline:
            pipeline.load_state_dict(states[-1])
            optimizer = torch.optim.SGD(pipeline.parameters(), 0.1)
            losses.append(pipeline.step(x, target=y).loss)
            optimizer.step()
            states.append(pipeline.state_dict())
    eager = models.linears()
    optimizer = torch.optim.SGD(eager.parameters(), 0.1)
    for loss in losses:
        assert loss == pipelines.eager_step(eager, x, y, {}, squares)
        optimizer.step()

"""A model cut into stages has the bits of the whole model: outputs, losses, gradients and statistics."""

import copy
import io
import pickle
import threading

import models
import pytest
import torch
from models import BATCH, LENGTH, WIDTH, WORDS, Block, Meta, ids, padding
from torch import nn

import halfback as hb
from halfback.torch.cut import Part, cut


def logits_of(output):
    for name in ("logits", "last_hidden_state"):
        if getattr(output, name, None) is not None:
            return getattr(output, name)
    return output


def gradients(model):
    return {name: one.grad for name, one in model.named_parameters()}


def run_parts(parts, x, inputs):
    """Forward and backward of all parts, with nothing but tensors between them. Returns the output and the loss."""
    calls, value = [], x
    for part in parts:
        if part.index > 0:
            value = value.detach().requires_grad_()
        result = part(value, **inputs)
        calls.append((value, result))
        value = result
    loss = value.float().pow(2).mean()
    loss.backward()
    for (_, result), (arrived, _) in zip(calls[-2::-1], calls[:0:-1], strict=True):
        result.backward(arrived.grad)
    return value.detach(), loss.detach()


def add_copies(model, parts):
    """What the engine does: the gradients of copies belong to the originals."""
    originals = dict(model.named_parameters())
    for part in parts:
        named = dict(part.named_parameters())
        for name, original in part.copies.items():
            grad = named[name].grad
            if grad is not None:
                one = originals[original]
                one.grad = grad.clone() if one.grad is None else grad + one.grad


def expect_bits(model, x, inputs, stages, *, args=None, **options):
    """Two steps of the whole model, and of the parts of a model like it."""
    twin = copy.deepcopy(model)
    whole = nn.Sequential(*twin) if isinstance(twin, list) else twin
    mine = nn.Sequential(*model) if isinstance(model, list) else model
    parts = cut(model, stages, **options)
    assert [part.index for part in parts] == list(range(len(parts)))
    for step in range(2):
        output = logits_of(whole(x, **inputs))
        loss = output.float().pow(2).mean()
        loss.backward()
        found, found_loss = run_parts(parts, x, inputs)
        assert torch.equal(found, output) and torch.equal(found_loss, loss)
        if step == 0:
            whole.zero_grad()
            for part in parts:
                part.zero_grad()
    add_copies(mine, parts)
    expected, found = gradients(whole), gradients(mine)
    assert expected.keys() == found.keys()
    for name, grad in expected.items():
        assert (grad is None) == (found[name] is None), name
        assert grad is None or torch.equal(grad, found[name]), name
    for (name, one), other in zip(whole.state_dict().items(), mine.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    expect_names(mine, parts)
    assert torch.equal(logits_of(mine.eval()(x, **inputs)), logits_of(whole.eval()(x, **inputs)))
    return parts


def expect_names(model, parts):
    """Each parameter of the model is in one part as the same object; the other parts have copies of it."""
    originals = dict(model.named_parameters(remove_duplicate=False))
    owned = []
    for part in parts:
        assert isinstance(part, Part) and part.num_stages == len(parts)
        names = part.model_names
        assert set(part.state_dict()) <= names.keys()
        assert {names[name] for name in part.state_dict()} <= set(model.state_dict())
        for name, one in part.named_parameters():
            if name in part.copies:
                original = originals[part.copies[name]]
                assert one is not original and torch.equal(one, original)
                assert originals[names[name]] is original
            else:
                assert one is originals[names[name]]
                owned.append(id(one))
    assert sorted(owned) == sorted(id(one) for one in model.parameters())


@pytest.mark.parametrize("stages", [1, 2, 3, 4, ["1"], ["1.1", "4"], ["3", "5"]])
def test_a_sequential(stages):
    x = torch.randn(BATCH, WIDTH, generator=torch.Generator().manual_seed(0))
    expect_bits(models.linears(), x, {}, stages)


@pytest.mark.parametrize("stages", [1, 2, 3, 4, ["1"], ["1.1", "2", "4"]])
def test_a_sequential_with_batch_norm(stages):
    x = torch.randn(BATCH, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    expect_bits(models.resnet(), x, {}, stages)


@pytest.mark.parametrize("stages", [1, 2, 3, 4, ["1.1"]])
def test_a_list_of_modules(stages):
    one = nn.Linear(WIDTH, WIDTH)
    x = torch.randn(BATCH, WIDTH, generator=torch.Generator().manual_seed(0))
    parts = expect_bits([*models.linears(3), one, one], x, {}, stages)
    assert len(parts[-1].copies) == (2 if stages == 4 else 0)  # ``one`` is in the last two stages


def test_a_tuple_is_several_arguments_between_modules_of_a_list():
    class Two(nn.Module):
        def forward(self, x, y=None):
            return x + 1, x * 2 if y is None else y + x

    x = torch.ones(2)
    first, second = cut((Two(), Two(), Two()), 2)
    y = first(x)
    assert isinstance(y, tuple) and len(y) == 2
    assert torch.equal(second(*y)[1], torch.full((2,), 2.0 + 2.0 + 3.0))


STAGES = [1, 2, 3, 4]


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("stages", [*STAGES, ["model.layers.3"], ["model.layers.1", "model.layers.2"]])
def test_llama(stages, tied):
    model = models.llama(tied)
    positions = torch.arange(LENGTH).flip(0).expand(BATCH, -1) + torch.arange(BATCH)[:, None]
    parts = expect_bits(model, ids(), {"attention_mask": padding(), "position_ids": positions}, stages)
    copies = {"model.lm_head.weight": "model.embed_tokens.weight"} if tied and len(parts) > 1 else {}
    assert parts[-1].copies == copies
    expect_bits(models.llama(tied), ids(), {}, stages)
    if len(parts) > 1:
        assert not any("lm_head" in name for name in parts[0].model_names.values())


@pytest.mark.parametrize("stages", [*STAGES, ["transformer.h.1"]])
def test_gpt2(stages):
    parts = expect_bits(models.gpt2(), ids(), {"attention_mask": padding()}, stages)
    assert list(parts[-1].copies.values()) == (["transformer.wte.weight"] if len(parts) > 1 else [])
    expect_bits(models.gpt2(tied=False), ids(), {"token_type_ids": ids(7)}, stages)


@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("stages", STAGES)
def test_bert(stages, head):
    kinds = (torch.arange(LENGTH) > 2).long().expand(BATCH, -1)
    expect_bits(models.bert(head=head), ids(), {"attention_mask": padding(), "token_type_ids": kinds}, stages)


def test_a_classifier_that_reads_the_ids_after_the_blocks_gets_them_by_keyword():
    from transformers import LlamaForSequenceClassification

    torch.manual_seed(0)
    model = LlamaForSequenceClassification(models.llama(False).config)
    tokens = ids().masked_fill(padding() == 0, 0)
    expected = model(tokens, attention_mask=padding()).logits
    first, second = cut(model, 2)
    inputs = {"input_ids": tokens, "attention_mask": padding()}
    assert torch.equal(second(first(**inputs), **inputs), expected)


@pytest.mark.parametrize("stages", STAGES)
def test_a_loop_over_a_list(stages):
    torch.manual_seed(0)
    mask = torch.zeros(LENGTH, LENGTH).masked_fill(torch.ones(LENGTH, LENGTH).triu(1).bool(), float("-inf"))
    parts = expect_bits(Meta().eval(), ids(), {"mask": mask}, stages)
    names = [set(part.model_names.values()) for part in parts]
    assert "scale" in names[0] and all("scale" not in one for one in names[1:])
    assert all("angles" in one for one in names)


@pytest.mark.parametrize("stages", STAGES)
def test_five_blocks(stages):
    """Earlier stages have one block more."""
    parts = expect_bits(Meta(5).eval(), ids(), {}, stages)
    assert [len(part.units) for part in parts] == {1: [5], 2: [3, 2], 3: [2, 2, 1], 4: [2, 1, 1, 1]}[stages]


@pytest.mark.parametrize("make", [lambda: Meta(4), lambda: models.gpt2(dropout=0.25), models.resnet, models.linears])
def test_units_and_dropout_do_not_depend_on_the_cut(make):
    torch.manual_seed(0)
    model = make().train()
    x = ids() if not isinstance(model, nn.Sequential) else torch.ones(BATCH, 3, 8, 8)
    x = torch.ones(BATCH, WIDTH) if len(model._modules) == 6 else x
    orders, outputs = [], []
    for stages in (1, 2, 3, 4):
        seen = []

        def on_unit(name, seen=seen):
            torch.manual_seed(sum(name.encode()))
            seen.append(name)

        parts = cut(model, stages)
        value = x
        for part in parts:
            assert part.on_unit is None
            part.on_unit = on_unit
            value = part(value)
        units = [name for part in parts for name in part.units]
        assert seen == (units if isinstance(model, nn.Sequential) else ["begin", *units, "end"])
        orders.append(seen)
        outputs.append(value)
    assert all(one == orders[0] for one in orders)
    assert all(torch.equal(one, outputs[0]) for one in outputs)


def test_the_model_and_the_parts_can_be_copied_and_saved():
    model = models.llama(True)
    before = {name: one.clone() for name, one in model.state_dict().items()}
    hooks = [len(one._forward_pre_hooks) for one in model.modules()]
    expected = model(ids()).logits
    parts = cut(model, 3)
    run_parts(parts, ids(), {})
    assert [len(one._forward_pre_hooks) for one in model.modules()] == hooks
    for same in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(same(ids()).logits, expected)
        assert all(torch.equal(one, before[name]) for name, one in same.state_dict().items())
    file = io.BytesIO()
    torch.save(parts, file)
    file.seek(0)
    for same in (copy.deepcopy(parts), torch.load(file, weights_only=False)):
        assert torch.equal(run_parts(same, ids(), {})[0], expected)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.step()
    assert torch.equal(parts[1](torch.ones(1, 2, WIDTH)), cut(model, 3)[1](torch.ones(1, 2, WIDTH)))


def test_parts_run_in_threads_at_once():
    model, inputs = models.llama(False), {"attention_mask": padding()}
    batches = [ids(seed) for seed in range(8)]
    expected = [model(one, **inputs).logits for one in batches]
    parts = cut(model, 4)
    done = [[threading.Event() for _ in batches] for _ in range(5)]
    values = list(batches)
    for one in done[0]:
        one.set()

    def work(part):
        for i in range(len(batches)):
            assert done[part.index][i].wait(60)
            values[i] = part(values[i].detach(), **inputs)
            done[part.index + 1][i].set()

    workers = [threading.Thread(target=work, args=(part,)) for part in parts]
    for one in workers:
        one.start()
    for one in workers:
        one.join(60)
    assert all(torch.equal(one, other) for one, other in zip(values, expected, strict=True))


class Odd(Meta):
    """The norm of the head is registered before the blocks, and the head reads the embedding."""

    def __init__(self):
        nn.Module.__init__(self)
        self.gain = nn.Parameter(torch.tensor(0.5))
        self.tokens, self.norm = nn.Embedding(WORDS, WIDTH), nn.LayerNorm(WIDTH)
        self.blocks = nn.Sequential(*[nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh()) for _ in range(4)])

    def forward(self, tokens):
        count, length = tokens.shape  # wants the real tokens
        hidden = self.norm(self.blocks(self.tokens(tokens))) * self.gain
        return (hidden @ self.tokens.weight.T).view(count, length, WORDS)


def test_what_both_ends_use():
    torch.manual_seed(0)
    model = Odd()
    expected = model(ids())
    expected.sum().backward()
    grads = {name: one.clone() for name, one in gradients(model).items()}
    model.zero_grad()
    for both, text in (
        ([], "calls 'norm', which another stage has .*both=\\['norm'\\]"),
        (["norm"], "its parameter 'gain' after the blocks, and the first stage has it; give cut"),
        (["norm", "gain"], "reads 'tokens.weight' in a stage that has not 'tokens'; where the first and the last"),
    ):
        first, second = cut(model, 2, both=both)
        hidden = first(ids())
        with pytest.raises(hb.ConfigError, match=text):
            second(hidden, tokens=ids())
    for stages in (2, 3):
        *early, last = cut(model, stages, both=["norm", "gain", "tokens"])
        with pytest.raises(hb.ConfigError, match="forward fails before this stage's first block .*tokens=tokens"):
            last(hidden)
        value, calls = ids(), []
        for part in (*early, last):
            value = value if part.index == 0 else value.detach().requires_grad_()
            calls.append((value, part(value, tokens=ids()) if part.index else part(value)))
            value = calls[-1][1]
        assert torch.equal(value, expected)
        value.sum().backward()
        for (_, result), (arrived, _) in zip(calls[-2::-1], calls[:0:-1], strict=True):
            result.backward(arrived.grad)
        add_copies(model, [*early, last])
        assert all(torch.equal(one, grads[name]) for name, one in gradients(model).items())
        model.zero_grad()


def raises(text, *args, **options):
    with pytest.raises(hb.ConfigError, match=text):
        cut(*args, **options)


def test_stages_that_do_not_fit():
    model = Meta()
    raises("5 stages, and 'layers' has 4 units; take at most 4", model, 5)
    raises("stages: 0; expected at least 1", model, 0)
    raises("'layer.2' is no unit of 'layers', which has layers.0, .*; did you mean 'layers.2'?", model, ["layer.2"])
    raises("'layers.1' does not come after 'layers.3'; give ascending names", model, ["layers.3", "layers.1"])
    raises("'layers.1' does not come after 'layers.1'", model, ["layers.1", "layers.1"])
    raises("the first stage begins at 'layers.0' by itself; leave it out", model, ["layers.0", "layers.1"])
    raises("'layers.1' is one name; expected a number or a list of names", model, "layers.1")
    raises("3 stages, and the Sequential has 2 units", nn.Sequential(nn.Tanh(), nn.Tanh()), 3)
    raises("'5' is no unit of the Sequential, which has 0, 1; take one of these", nn.Sequential(nn.Tanh(), nn.Tanh()), ["5"])
    raises("Linear has no nn.ModuleList or nn.Sequential of blocks of one class; give cut", nn.Linear(2, 2), 2)
    raises("blocks: 'layer' is no nn.ModuleList .* which has layers; did you mean 'layers'?", model, 2, blocks="layer")
    raises("both: 'other' has no parameters, or is not beside .* expected one of tokens, norm", model, 2, both=["other"])
    raises("both: an nn.Sequential has no modules beside its units", nn.Sequential(nn.Tanh()), 1, both=["0"])
    model.forward = lambda tokens: tokens
    raises("the forward of 'Meta' is replaced by <function", model, 2)


def test_the_list_of_blocks_can_be_named():
    model = Meta()
    model.more = nn.ModuleList([nn.Linear(99, 99)])
    assert cut(model, 1)[0].units == ["more.0"]
    assert cut(model, 2, blocks="layers")[1].units == ["layers.2", "layers.3"]


class Loop(nn.Module):
    def __init__(self, count=4):
        super().__init__()
        self.first = nn.Linear(WIDTH, WIDTH)
        self.blocks = nn.ModuleList([nn.Linear(WIDTH, WIDTH) for _ in range(count)])


class Skips(Loop):
    def forward(self, x):
        x = before = self.first(x)
        for i, block in enumerate(self.blocks):
            before, x = x, block(x) + (before if i == len(self.blocks) - 1 else 0)
        return x


class Conditions(Loop):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Block() for _ in range(4)])

    def forward(self, x, time):
        angles = self.first(time)[..., :4] * 2
        for block in self.blocks:
            x, _ = block(x, angles)
        return x


class Unpacks(Conditions):
    def forward(self, x):
        for block in self.blocks:
            x, _ = block(x, torch.ones(LENGTH, 4))
        return x


def test_a_loop_that_unpacks_what_blocks_return():
    torch.manual_seed(0)
    expect_bits(Unpacks().eval(), torch.randn(BATCH, LENGTH, WIDTH), {}, 3)


class Carries(Loop):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Bilinear(WIDTH, WIDTH, WIDTH) for _ in range(4)])

    def forward(self, x):
        before = x
        for block in self.blocks:
            x, before = block(x, before), x
        return x


class Shares(Conditions):
    def forward(self, x):
        for block in self.blocks:
            x, _ = block(x, self.first.weight[:LENGTH, :4] * 2)
        return x


class Backwards(Loop):
    def forward(self, x):
        for block in reversed(self.blocks):
            x = block(x)
        return x


class Nothing(Loop):
    def forward(self, x):
        return self.first(x)


@pytest.mark.parametrize(("make", "text"), [
    (Conditions, "block 'blocks.2' reads a tensor that an earlier stage computes, besides the hidden state"),
    (Shares, "block 'blocks.2' reads a tensor that an earlier stage computes, besides the hidden state"),
    (Carries, "block 'blocks.2' reads a second tensor that an earlier block returns; only the hidden state"),
    (Backwards, "block 'blocks.3' .number 3. where number|calls 'blocks.3', which another stage has"),
    (Nothing, "stage 0: forward returns without a call of all of its blocks; give cut"),
])
def test_models_that_a_cut_would_run_wrongly_are_refused(make, text):
    x = torch.ones(BATCH, LENGTH, WIDTH)
    torch.manual_seed(0)
    inputs = {"time": torch.ones(LENGTH, WIDTH)} if make is Conditions else {}
    first, second = cut(make(), 2)
    with pytest.raises(hb.ConfigError, match=text):
        second(first(x, **inputs), **inputs)


def test_a_head_that_reads_what_other_stages_compute_is_refused():
    class Mixes(Loop):
        def forward(self, x):
            states = []
            for block in self.blocks:
                states.append(x)
                x = block(x)
            return x + states[0]

    x = torch.ones(BATCH, WIDTH)
    first, second = cut(Mixes(), 2)
    with pytest.raises(hb.ConfigError, match="the code after the blocks reads a tensor that an earlier stage computes"):
        second(first(x))


def test_a_cache_and_more_tensors_are_refused():
    first, second = cut(models.llama(False), 2)
    with pytest.raises(hb.ConfigError, match="use_cache: a stage keeps no cache"):
        first(ids(), use_cache=True)
    hidden = first(ids())
    with pytest.raises(hb.ConfigError, match="stage 1: 2 arguments; expected one tensor, the output of the stage before"):
        second(hidden, hidden)

"""Modules in two halves: the bits of PyTorch's own backward, or a refusal that says what is in the way."""

import contextlib
import copy
import gc
import importlib.metadata
import subprocess
import sys
import weakref

import pytest
import torch
import torch.nn.functional as F
from attention import WIDTH, Attention
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForCausalLM, BertConfig, BertModel, GPT2Config, LlamaConfig, T5Config, T5ForConditionalGeneration

import halfback as hb
from halfback.torch import Split

MICRO_BATCHES = 3
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


class Residual(nn.Module):
    """A block of what a test asks for, with a residual connection."""

    def __init__(self, function, *modules):
        super().__init__()
        self.parts = nn.ModuleList(modules)
        self.function = function

    def forward(self, x):
        return x + self.function(x, *self.parts)


class LoRA(nn.Module):
    def __init__(self):
        super().__init__()
        self.frozen = nn.Linear(WIDTH, WIDTH)
        self.frozen.requires_grad_(False)
        self.down = nn.Linear(WIDTH, 2, bias=False)
        self.up = nn.Linear(2, WIDTH, bias=False)

    def forward(self, x):
        return self.frozen(x) + self.up(self.down(x))


class Sliced(nn.Module):
    """Writes slices of a tensor of its own."""

    def __init__(self):
        super().__init__()
        self.even, self.odd = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        y = torch.zeros_like(x)
        y[:, ::2] = self.even(x[:, ::2])
        y[:, 1::2] = self.odd(x[:, 1::2])
        return y


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.other.weight = self.one.weight

    def forward(self, x):
        return self.other(F.gelu(self.one(x)))


class Positions(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(32, WIDTH)
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        return self.linear(x + self.table(torch.arange(x.shape[1], device=x.device)))


class Recomputed(nn.Module):
    def __init__(self, *, reentrant):
        super().__init__()
        self.inner, self.reentrant = Attention(), reentrant

    def forward(self, x):
        return checkpoint(self.inner, x, use_reentrant=self.reentrant)


class Autocast(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Attention()

    def forward(self, x):
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            return self.inner(x).float()


class Scale(torch.autograd.Function):
    """A user's function with gradients for its input and for a parameter."""

    calls = 0

    @staticmethod
    def forward(context, x, weight):
        context.save_for_backward(x, weight)
        return x @ weight

    @staticmethod
    def backward(context, grad):
        Scale.calls += 1
        x, weight = context.saved_tensors
        return grad @ weight.T, x.flatten(0, -2).T @ grad.flatten(0, -2)


class Custom(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(WIDTH, WIDTH) / 4)

    def forward(self, x):
        return Scale.apply(x, self.weight)


MODULES = {
    "attention": Attention,
    "encoder layer of torch": lambda: nn.TransformerEncoderLayer(WIDTH, 4, 32, dropout=0.0, batch_first=True),
    "gru": lambda: Residual(lambda x, gru: gru(x)[0], nn.GRU(WIDTH, WIDTH, batch_first=True)),
    "lora": LoRA,
    "a weight twice on a path": Tied,
    "several outputs of an operator": lambda: Residual(lambda x, a: a(x).chunk(2, -1)[0], nn.Linear(WIDTH, 2 * WIDTH)),
    "slice writes": Sliced,
    "a table of positions": Positions,
    "autocast inside": Autocast,
    "checkpoint": lambda: Recomputed(reentrant=False),
    "its output is a view": lambda: nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)),
    "an unused layer": lambda: Residual(lambda x, used, unused: used(x), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)),
    "norms and a convolution": lambda: Residual(
        lambda x, conv, norm: norm(conv(x.transpose(1, 2))).transpose(1, 2), nn.Conv1d(WIDTH, WIDTH, 3, padding=1), nn.BatchNorm1d(WIDTH)
    ),
}


def copies(make, device="cpu"):
    torch.manual_seed(0)
    module = make().to(device)
    return module, copy.deepcopy(module)


def inputs(shape=(2, 6, WIDTH), requires_grad=True, device="cpu"):
    torch.manual_seed(1)
    return [torch.randn(shape).to(device).requires_grad_(requires_grad) for _ in range(MICRO_BATCHES)]


def expect_same_gradients(module, eager):
    for (name, found), expected in zip(module.named_parameters(), eager.parameters(), strict=True):
        assert (found.grad is None) == (expected.grad is None), name
        assert found.grad is None or torch.equal(found.grad, expected.grad), name


def run_all(split, xs, grads):
    """All F, then all I, then all W: every graph waits."""
    graphs = [split.forward(x) for x in xs]
    found = [graph.backward_input(grad) for (_, graph), grad in zip(graphs, grads, strict=True)]
    for _, graph in graphs:
        graph.backward_weight()
    return [y for y, _ in graphs], found


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("halves", ["split", "together"])
@pytest.mark.parametrize("name", MODULES)
def test_gradients_have_the_bits_of_a_whole_backward(name, halves, device):
    module, eager = copies(MODULES[name], device)
    xs, others = inputs(device=device), inputs(device=device)
    grads = [torch.randn_like(x) for x in xs]
    ys, found = run_all(Split(module, halves=halves), xs, grads)
    for x, y, grad, (grad_x,) in zip(others, ys, grads, found, strict=True):
        expected = eager(x)
        expected.backward(grad)
        assert torch.equal(y, expected)
        assert not y.requires_grad
        assert torch.equal(grad_x, x.grad)
    expect_same_gradients(module, eager)
    assert all(x.grad is None for x in xs)


def test_gradients_accumulate_over_steps():
    module, eager = copies(Attention)
    split = Split(module)
    for _ in range(2):
        xs = inputs()
        run_all(split, xs, xs)
        for x in inputs():
            eager(x).backward(x.detach())
    expect_same_gradients(module, eager)


def test_a_stage_without_inputs_does_everything_in_w():
    module, eager = copies(Attention)
    xs = inputs(requires_grad=False)
    _, found = run_all(Split(module), xs, xs)
    assert found == [()] * MICRO_BATCHES
    for x in xs:
        eager(x).backward(x)
    expect_same_gradients(module, eager)


class TwoStreams(nn.Module):
    """Takes and returns an encoder's states beside its own, and a mask that has no gradient."""

    def __init__(self):
        super().__init__()
        self.own, self.cross, self.encoder = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, x, states, *, mask):
        return {"x": x + self.own(x) * mask + self.cross(states), "states": self.encoder(states), "mask": mask}


def test_several_inputs_and_outputs_have_gradients():
    module, eager = copies(TwoStreams)
    mask = torch.ones(2, 6, 1).bool()
    torch.manual_seed(2)
    x, states, grad_x, grad_states = (torch.randn(2, 6, WIDTH) for _ in range(4))
    ours = [one.clone().requires_grad_() for one in (x, states)]
    outputs, graph = Split(module).forward(*ours, mask=mask)
    assert list(outputs) == ["x", "states", "mask"]
    found = graph.backward_input(grad_x, grad_states, None)
    graph.backward_weight()
    theirs = [one.clone().requires_grad_() for one in (x, states)]
    expected = eager(*theirs, mask=mask)
    torch.autograd.backward([expected["x"], expected["states"]], [grad_x, grad_states])
    for ours, theirs in zip(found, theirs, strict=True):
        assert torch.equal(ours, theirs.grad)
    expect_same_gradients(module, eager)


TINY = {"vocab_size": 64, "num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}


def causal(config):
    return lambda: AutoModelForCausalLM.from_config(config)


PUBLISHED = {
    "llama": causal(LlamaConfig(**TINY)),
    "llama with tied embeddings": causal(LlamaConfig(**TINY, tie_word_embeddings=True)),
    "gpt2": causal(GPT2Config(vocab_size=64, n_layer=2, n_embd=32, n_head=4, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)),
    "bert": lambda: BertModel(BertConfig(**TINY, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)),
    "t5": lambda: T5ForConditionalGeneration(
        T5Config(vocab_size=64, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, dropout_rate=0.0)
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_models_of_transformers_have_the_bits_of_a_whole_backward(name):
    module, eager = copies(PUBLISHED[name])
    torch.manual_seed(3)
    embedded = torch.randn(2, 8, 32)
    kwargs = {"decoder_input_ids": torch.arange(16).view(2, 8)} if name == "t5" else {}
    ours, theirs = (embedded.clone().requires_grad_() for _ in range(2))
    split = Split(module)
    output, graph = split.forward(inputs_embeds=ours, use_cache=False, return_dict=False, **kwargs)
    expected = eager(inputs_embeds=theirs, use_cache=False, return_dict=False, **kwargs)
    grads = [torch.randn_like(one) for one in expected]
    found = graph.backward_input(*grads)
    graph.backward_weight()
    torch.autograd.backward(expected, grads)
    assert torch.equal(output[0], expected[0])
    assert torch.equal(found[0], theirs.grad)
    expect_same_gradients(module, eager)


def test_functions_of_users_run_once_and_only_together():
    module, eager = copies(Custom)
    with pytest.raises(hb.ConfigError, match="ScaleBackward has gradients for the input and for parameters.*together"):
        Split(module).forward(inputs()[0])
    xs = inputs()
    Scale.calls = 0
    run_all(Split(module, halves="together"), xs, xs)
    assert Scale.calls == MICRO_BATCHES
    for x in inputs():
        eager(x).backward(x.detach())
    expect_same_gradients(module, eager)


def test_a_function_of_users_without_parameters_is_split():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(WIDTH, WIDTH)

        def forward(self, x):
            return Scale.apply(self.linear(x), torch.eye(WIDTH))

    module, eager = copies(Own)
    xs = inputs()
    run_all(Split(module), xs, xs)
    for x in inputs():
        eager(x).backward(x.detach())
    expect_same_gradients(module, eager)


def test_compiled_modules_run_together():
    module, eager = copies(Attention)
    compiled = torch.compile(module)
    with pytest.raises(hb.ConfigError, match="CompiledFunctionBackward.*together"):
        Split(compiled).forward(inputs()[0])
    xs = inputs()
    run_all(Split(compiled, halves="together"), xs, xs)
    whole = torch.compile(eager)
    for x in inputs():
        whole(x).backward(x.detach())
    expect_same_gradients(module, eager)


def with_parameter_hook():
    module = Attention()
    module.qkv.weight.register_hook(lambda grad: grad * 2)
    return module


def with_accumulate_hook():
    module = Attention()
    module.qkv.weight.register_post_accumulate_grad_hook(lambda parameter: None)
    return module


def with_backward_hook():
    module = Attention()
    module.qkv.register_full_backward_hook(lambda *_: None)
    return module


def with_outside_parameter():
    outside = nn.Parameter(torch.ones(7, WIDTH))
    return Residual(lambda x: x * outside[0])


def with_state():
    kept = []

    def remember(x, linear):
        y = linear(x + kept[-1] if kept else x)
        kept.append(y)
        return y

    return Residual(remember, nn.Linear(WIDTH, WIDTH))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (with_parameter_hook, "a hook on parameter qkv.weight.*remove it"),
        (with_accumulate_hook, "a hook on parameter qkv.weight.*remove it"),
        (with_backward_hook, "a hook on BackwardHookFunctionBackward.*remove it"),
        (lambda: Residual(lambda x: x.mul_(2)), "input 0 was written to.*work on a copy"),
        (lambda: Residual(lambda x: x.detach() - x.detach()).requires_grad_(False), None),
        (with_outside_parameter, r"a tensor of shape \[7, 16\] that requires a gradient and is not among its parameters.*register it"),
        (with_state, "depends on what it kept of an earlier call.*detach"),
    ],
)
def test_what_cannot_be_split_is_refused_by_name(make, text):
    split = Split(make())
    with pytest.raises(hb.ConfigError, match=text) if text else contextlib.nullcontext():
        for x in inputs():
            split.forward(x)


def test_a_reentrant_checkpoint_is_refused():
    _, graph = Split(Recomputed(reentrant=True)).forward(inputs()[0])
    with pytest.raises(RuntimeError, match="set use_reentrant=False"):  # torch's own words
        graph.backward_input(inputs()[1])


def test_halves_are_named():
    with pytest.raises(hb.ConfigError, match="expected split or together"):
        Split(nn.Linear(2, 2), halves="both")


def test_i_releases_what_only_i_reads():
    torch.manual_seed(0)
    module = nn.Sequential(*[nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh()) for _ in range(4)])
    kept = []

    def pack(tensor):
        kept.append(weakref.ref(tensor))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        _, graph = Split(module).forward(inputs()[0])
    gc.collect()
    before = sum(one() is not None for one in kept)
    graph.backward_input(inputs()[1])
    gc.collect()
    assert sum(one() is not None for one in kept) < before
    graph.backward_weight()
    assert all(one.grad is not None for one in module.parameters())


def test_parameters_may_be_converted_between_calls():
    module, eager = copies(Attention)
    split = Split(module)
    xs = inputs()
    run_all(split, xs, xs)
    module.double()
    eager.double()
    module.zero_grad()
    xs = [x.detach().double().requires_grad_() for x in inputs()]
    run_all(split, xs, xs)
    for x in inputs():
        eager(x.double()).backward(x.detach().double())
    expect_same_gradients(module, eager)


def test_shapes_are_known_without_memory():
    with torch.device("meta"):
        module = Attention()
        x = torch.randn(2, 6, WIDTH, requires_grad=True)
    y, graph = Split(module).forward(x)
    (grad_x,) = graph.backward_input(torch.empty_like(y))
    graph.backward_weight()
    assert grad_x.device.type == "meta"
    assert module.qkv.weight.grad.shape == module.qkv.weight.shape


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_bits_are_those_of_eager_on_any_number_of_threads(threads):
    program = f"import torch; torch.set_num_threads({threads}); import test_split as t; t.test_gradients_accumulate_over_steps()"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=__file__.rsplit("/", 1)[0], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr


def test_another_torch_is_refused(tmp_path):
    program = "import torch; torch.__version__ = '2.99.1'; import halfback.torch"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "halfback.torch was built for torch" in done.stderr
    assert "2.99.1 is installed; install torch==" in done.stderr


def test_both_packages_have_one_version():
    assert importlib.metadata.version("halfback-torch") == hb.__version__

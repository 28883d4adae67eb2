"""Models through halfback.torch.Pipeline and by eager PyTorch. Under torchrun it prints what differs."""

import functools
import pathlib
import sys
import tempfile

import models
import torch
import torch.nn.functional as F
from torch import nn

import halfback as hb
from halfback.torch import Pipeline, cut

BATCH, MICRO_BATCHES, RATE = 16, 8, 3e-3


def words_of(model):
    """Token ids [N, T] as inputs and targets; the loss is that of the next word."""
    generator = torch.Generator().manual_seed(7)
    ids = torch.randint(1, models.WORDS, (BATCH, models.LENGTH), generator=generator)
    mask = torch.ones_like(ids)
    mask[:, 4:] = torch.randint(0, 2, (BATCH, 2), generator=generator)
    return model, ids, ids, {"attention_mask": mask}


def next_word(logits, ids):
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="sum")


def same_word(logits, ids):
    return F.cross_entropy(logits.flatten(0, 1), ids.flatten(), reduction="sum")


def sequence():
    generator = torch.Generator().manual_seed(8)
    x = torch.randn(BATCH, models.WIDTH, generator=generator)
    return models.linears(16), x, torch.randn(BATCH, models.WIDTH, generator=generator), {}


def images():
    generator = torch.Generator().manual_seed(9)
    x = torch.randn(BATCH, 3, 8, 8, generator=generator)
    return models.resnet(), x, torch.randint(0, 5, (BATCH,), generator=generator), {}


def blocks():
    model, x, y, _ = words_of(models.Meta())
    for one in model.modules():
        if isinstance(one, nn.Dropout):
            one.p = 0.0
    return model, x, y, {}


CASES = {
    "linears": (sequence, functools.partial(F.mse_loss, reduction="sum")),
    "resnet": (images, functools.partial(F.cross_entropy, reduction="sum")),
    "blocks": (blocks, next_word),
    "llama": (lambda: words_of(models.llama(tied=False)), next_word),
    "llama-tied": (lambda: words_of(models.llama(tied=True)), next_word),
    "gpt2": (lambda: words_of(models.gpt2(tied=False)), next_word),
    "gpt2-tied": (lambda: words_of(models.gpt2()), next_word),
    "dropout": (lambda: words_of(models.gpt2(tied=False, dropout=0.1)), next_word),
    "bert": (lambda: words_of(models.bert(tied=False)), same_word),
    "bert-tied": (lambda: words_of(models.bert()), same_word),
}


def build(name, ranks):
    """Some families say themselves how many micro-batches they have."""
    try:
        return hb.build(name, ranks=ranks, micro_batches=MICRO_BATCHES)
    except hb.ConfigError:
        return hb.build(name, ranks=ranks)


def families(ranks):
    """The plans for so many ranks of the families that train a whole model once, by name."""
    found = {}
    for family in hb.families():
        try:
            plan = build(family.name, ranks)
        except hb.ConfigError:  # for another number of ranks
            continue
        if plan.num_replicas == 1 and not plan.losses:
            found[family.name] = plan
    return found


def through_file(plan, dialect):
    """The plan, written and read again."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "plan.csv"
        plan.save(path, dialect=dialect)
        return hb.load(path)


def make(case):
    torch.manual_seed(11)
    build, loss = CASES[case]
    return (*build(), loss)


def eager_step(model, x, y, further, loss, number=MICRO_BATCHES):
    """Gradients of the micro-batches in order, of the sum over all targets divided by their number."""
    count = y.numel()
    model.zero_grad()
    total = 0.0
    masks = [dict(zip(further, parts)) for parts in zip(*(one.tensor_split(number) for one in further.values()))]
    pairs = zip(x.tensor_split(number), y.tensor_split(number), masks or [{}] * number)
    for inputs, target, mask in pairs:
        output = model(inputs, **mask)
        value = loss(getattr(output, "logits", output), target)
        total += value.item()
        (value / count).backward()
    return total / count


def untie(model, parts):
    """Gives a model a parameter of its own wherever a part has a copy; yields the names of it and of the original."""
    pairs = [(part.model_names[name], original) for part in parts for name, original in part.copies.items()]
    for name, _ in pairs:
        path, _, key = name.rpartition(".")
        module = model.get_submodule(path)
        setattr(module, key, nn.Parameter(getattr(module, key).detach().clone()))
    return pairs


def same(one, other):
    return one is other if one is None or other is None else torch.equal(one, other)


def differences(case, plan, steps=1, **options):
    """Trains by AdamW both ways; yields what has other bits than eager in this process."""
    model, x, y, further, loss = make(case)
    eager, *_ = make(case)
    parts = cut(model, plan.num_stages)
    pairs = untie(eager, parts)
    theirs = dict(eager.named_parameters(remove_duplicate=False))
    twin = torch.optim.AdamW(eager.parameters(), RATE)
    with Pipeline(parts, plan, loss, **options) as pipeline:
        optimizer = torch.optim.AdamW(pipeline.parameters(), RATE)
        for step in range(steps):
            found = pipeline.step(x, target=y, **further)
            expected = eager_step(eager, x, y, further, loss, plan.num_micro_batches)
            for name, original in pairs:
                theirs[name].grad = theirs[original].grad = theirs[original].grad + theirs[name].grad
            if found.loss != expected:
                yield f"step {step}: loss {found.loss}, eager {expected}"
            for name, one in pipeline.named_parameters():
                if not same(one.grad, theirs[name].grad):
                    yield f"step {step}: gradient of {name}"
            optimizer.step()
            twin.step()
            wanted = eager.state_dict()
            state = pipeline.state_dict(whole=step == steps - 1)
            if step == steps - 1 and state.keys() != wanted.keys():
                yield f"the whole state has {state.keys() ^ wanted.keys()} or lacks it"
            for name, tensor in state.items():
                is_statistic = "running" in name  # which the engine sums from zero
                if not (torch.allclose(tensor, wanted[name], atol=1e-6) if is_statistic else torch.equal(tensor, wanted[name])):
                    yield f"step {step}: {name} in the state"


def with_dropout(plan):
    """Losses of three steps; those of an evaluation have no dropout."""
    model, x, y, further, loss = make("dropout")
    with Pipeline(cut(model, plan.num_stages), plan, loss, seed=3) as pipeline:
        losses = [pipeline.step(x, target=y, **further).loss for _ in range(3)]
        return losses, pipeline.evaluate(x, target=y, **further).loss


def with_bytes(plan):
    """What each stage keeps, which all processes know."""
    model, x, y, further, loss = make("resnet")
    with Pipeline(cut(model, plan.num_stages), plan, loss) as pipeline:
        return pipeline.measure_memory(x, target=y, **further)["stages"]


def main():
    """Arguments: CASE:RANKS:FAMILY, or CASE:RANKS:FAMILY:DIALECT for a plan that went through a file."""
    torch.set_num_threads(1)
    for run in sys.argv[1:]:
        case, ranks, name, *dialect = run.split(":")
        plan = build(name, int(ranks))
        if dialect:
            plan = through_file(plan, *dialect)
        if case == "dropout":
            print(f"found {with_dropout(plan)}", flush=True)
        elif case == "bytes":
            print(f"kept {with_bytes(plan)}", flush=True)
        else:
            for one in differences(case, plan, steps=2):
                print(f"{run} differs: {one}", flush=True)
        print(f"done {run}.", flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""Models through halfback.torch.Pipeline and by eager PyTorch. Under torchrun it prints what differs."""

import argparse
import functools
import sys

import models
import torch
import torch.nn.functional as F

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
        if isinstance(one, torch.nn.Dropout):
            one.p = 0.0
    return model, x, y, {}


CASES = {
    "linears": (sequence, functools.partial(F.mse_loss, reduction="sum")),
    "resnet": (images, functools.partial(F.cross_entropy, reduction="sum")),
    "blocks": (blocks, next_word),
    "llama": (lambda: words_of(models.llama(tied=False)), next_word),
    "gpt2": (lambda: words_of(models.gpt2(tied=False)), next_word),
    "dropout": (lambda: words_of(models.gpt2(tied=False, dropout=0.1)), next_word),
    "bert": (lambda: words_of(models.bert(tied=False)), same_word),
}


def make(case):
    torch.manual_seed(11)
    build, loss = CASES[case]
    return (*build(), loss)


def eager_step(model, x, y, further, loss):
    """Gradients of the micro-batches in order, of the sum over all targets divided by their number."""
    count = y.numel()
    model.zero_grad()
    total = 0.0
    masks = [dict(zip(further, parts)) for parts in zip(*(one.tensor_split(MICRO_BATCHES) for one in further.values()))]
    pairs = zip(x.tensor_split(MICRO_BATCHES), y.tensor_split(MICRO_BATCHES), masks or [{}] * MICRO_BATCHES)
    for inputs, target, mask in pairs:
        output = model(inputs, **mask)
        value = loss(getattr(output, "logits", output), target)
        total += value.item()
        (value / count).backward()
    return total / count


def same(one, other):
    return one is other if one is None or other is None else torch.equal(one, other)


def differences(case, plan, steps=1, **options):
    """Trains by AdamW both ways; yields what has other bits than eager in this process."""
    model, x, y, further, loss = make(case)
    eager, *_ = make(case)
    twin = torch.optim.AdamW(eager.parameters(), RATE)
    with Pipeline(cut(model, plan.num_stages), plan, loss, **options) as pipeline:
        optimizer = torch.optim.AdamW(pipeline.parameters(), RATE)
        for step in range(steps):
            found = pipeline.step(x, target=y, **further)
            expected = eager_step(eager, x, y, further, loss)
            if found.loss != expected:
                yield f"step {step}: loss {found.loss}, eager {expected}"
            theirs = dict(eager.named_parameters(remove_duplicate=False))
            for name, one in pipeline.named_parameters():
                if not same(one.grad, theirs[name].grad):
                    yield f"step {step}: gradient of {name}"
            optimizer.step()
            twin.step()
        state, wanted = pipeline.state_dict(), eager.state_dict()
        for name, tensor in state.items():
            is_statistic = "running" in name  # which the engine sums from zero
            if not (torch.allclose(tensor, wanted[name], atol=1e-6) if is_statistic else torch.equal(tensor, wanted[name])):
                yield f"{name} after {steps} steps"


def with_dropout(plan):
    """Losses of three steps; those of an evaluation have no dropout."""
    model, x, y, further, loss = make("dropout")
    with Pipeline(cut(model, plan.num_stages), plan, loss, seed=3) as pipeline:
        losses = [pipeline.step(x, target=y, **further).loss for _ in range(3)]
        return losses, pipeline.evaluate(x, target=y, **further).loss


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ranks", type=int, required=True)
    parser.add_argument("--case", default="llama")
    parser.add_argument("families", nargs="*")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.families:
        plan = hb.build(name, ranks=options.ranks, micro_batches=MICRO_BATCHES)
        if options.case == "dropout":
            print(f"dropout {with_dropout(plan)}", flush=True)
            continue
        for one in differences(options.case, plan, steps=2):
            print(f"{name} differs: {one}", flush=True)
        print(f"done {name}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

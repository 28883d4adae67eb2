"""Pipeline: what would train something else than the user means, and does not show it."""

import re

import models
import pipelines
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import halfback as hb
from halfback.torch import Pipeline, cut

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

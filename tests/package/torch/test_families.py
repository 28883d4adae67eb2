"""Every family and model that Pipeline takes has the bits of eager, in threads and over processes, from files too."""

import pathlib
import re

import pipelines
import pytest
from test_stages import torchrun

import halfback as hb

PROGRAM = pathlib.Path(__file__).parent / "pipelines.py"
MODELS = ["blocks", "resnet", "llama", "llama-tied", "gpt2", "gpt2-tied", "bert", "bert-tied"]
DIALECTS = ["halfback", "torch"]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_every_family_has_the_bits_of_eager(ranks):
    plans = pipelines.families(ranks)
    assert len(plans) >= (18 if ranks in (2, 4) else 9), list(plans)
    for name, plan in plans.items():
        assert list(pipelines.differences("linears", plan, steps=2, threads=1)) == [], name


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_family_has_the_bits_of_eager_from_a_file(dialect, ranks):
    for name, plan in pipelines.families(ranks).items():
        if dialect == "torch" and plan.stage_updates:
            with pytest.raises(hb.ConfigError, match="has no place in PyTorch's dialect"):
                pipelines.through_file(plan, dialect)
            continue
        read = pipelines.through_file(plan, dialect)
        assert read.lists == plan.lists, name
        assert list(pipelines.differences("linears", read, threads=1)) == [], name


def test_families_that_do_not_train_a_whole_model_once_are_refused():
    names = {one.name for one in hb.families()} - pipelines.families(4).keys()
    refused = [name for name in sorted(names) if name not in ("bitpipe", "bitpipe-split")]
    assert refused
    for name in refused:
        with pytest.raises(hb.ConfigError, match="replicas of the weights|train parts of the model"):
            list(pipelines.differences("linears", pipelines.build(name, 4)))


@pytest.mark.parametrize("case", MODELS)
def test_models_have_the_bits_of_eager_in_every_family(case):
    for name, plan in pipelines.families(2).items():
        if plan.num_stages > 4:  # than they have blocks
            continue
        if plan.stage_updates and "tied" in case:
            with pytest.raises(hb.ConfigError, match="use a schedule without U, or a model without tied parameters"):
                list(pipelines.differences(case, plan))
        else:
            assert list(pipelines.differences(case, plan, threads=1)) == [], name


@pytest.mark.parametrize("case", MODELS)
@pytest.mark.parametrize(("name", "ranks"), [("1f1b", 1), ("zb-v", 2), ("zb-h1", 3), ("1f1b", 4)])
def test_models_have_the_bits_of_eager_for_five_steps(case, name, ranks):
    assert list(pipelines.differences(case, pipelines.build(name, ranks), steps=5, threads=1)) == []


def dropout(name, ranks):
    return pipelines.with_dropout(pipelines.build(name, ranks))


def test_dropout_is_the_same_on_any_number_of_ranks():
    found = dropout("1f1b", 1)
    assert all(dropout(name, ranks) == found for name, ranks in (("1f1b", 2), ("zb-v", 2), ("1f1b", 4)))
    losses, evaluation = found
    assert len({*losses, evaluation}) == 4


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_have_the_bits_of_eager(processes):
    """Every family, files, models, dropout and measured bytes, in one start of the processes."""
    runs = [f"linears:{processes}:{name}" for name in pipelines.families(processes)]
    runs += [f"linears:{processes}:{name}:{dialect}" for name in ("1f1b", "zb-h1", "zb-v") for dialect in DIALECTS]
    runs += [f"{case}:{processes}:{'zb-v' if processes == 2 else 'zb-h1'}" for case in MODELS]
    runs += ["resnet:4:1f1b", "dropout:4:1f1b", "bytes:4:1f1b"]
    done = torchrun(processes, *runs, program=PROGRAM)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "differs" not in done.stdout, done.stdout
    for run in runs:
        assert done.stdout.count(f"done {run}.") == processes, done.stdout
    assert re.findall("found (.*)", done.stdout) == [str(dropout("1f1b", 1))] * processes
    kept = pipelines.with_bytes(pipelines.build("1f1b", 4))
    assert re.findall("kept (.*)", done.stdout) == [str(kept)] * processes

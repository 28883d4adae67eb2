"""Simulated steps: arrays, memory, pictures, and costs in every form."""

import gc
import json

import numpy as np
import pandas as pd
import pytest

import halfback as hb


@pytest.fixture
def plan():
    return hb.build("zb-v", ranks=4, micro_batches=8)


def test_arrays_are_views_that_keep_the_run_alive(plan):
    run = plan.simulate(latency=0.1)
    spans = run.spans()
    starts, ranks, kinds = run.starts, run.ranks, run.kinds
    assert not starts.flags.owndata
    assert not starts.flags.writeable
    assert np.shares_memory(run.starts, starts)
    del run
    gc.collect()
    assert starts.tolist() == [span.start for span in spans]
    assert ranks.tolist() == [span.rank for span in spans]
    assert [hb.KINDS[kind] for kind in kinds] == [span.kind for span in spans]


def test_a_table_has_a_row_for_each_action(plan):
    run = plan.simulate()
    table = run.to_pandas()
    assert isinstance(table, pd.DataFrame)
    assert list(table) == ["rank", "action", "kind", "stage", "micro_batch", "start", "end"]
    assert len(table) == plan.num_actions
    assert table.end.max() == run.makespan
    busy = (table.end - table.start).groupby(table["rank"]).sum()
    assert busy.tolist() == run.busy
    for rank, rows in table.groupby("rank"):
        assert rows.action.tolist() == plan.lists[rank]


def test_the_critical_path_ends_with_the_step(plan):
    run = plan.simulate(cost="1,1.3,0.9", latency=0.2)
    path = run.critical_path()
    assert path[-1].end == run.makespan
    assert all(one.end <= other.start for one, other in zip(path, path[1:]))


@pytest.mark.parametrize(
    "cost",
    [
        (1, 1.5, 0.5),
        [1, 1.5, 0.5],
        np.array([1, 1.5, 0.5], dtype=np.float32),
        [[0.5, 0.75, 0.25]] * 8,
        np.full((8, 1), 0.5) * np.array([[1, 1.5, 0.5]]),
        {"stages": [{"forward": 0.5, "input": 0.75, "weight": 0.25}]},
    ],
)
def test_costs_are_the_same_in_every_form(plan, cost):
    run = plan.simulate(cost=cost)
    assert run.makespan == plan.simulate(cost="1,1.5,0.5").makespan
    assert run.starts.tolist() == plan.simulate(cost="1,1.5,0.5").starts.tolist()


def test_a_cost_file_is_that_of_the_command_line(command_line, tmp_path):
    document = {
        "stages": [
            {
                "forward": 1 + 0.1 * stage,
                "input": 1,
                "weight": 0.8,
                "activation_bytes": 4096,
                "gradient_bytes": 4096,
                "memory": {
                    "until_input": 100 + stage,
                    "until_weight": 200,
                    "gradients": 50,
                    "activation_message": 10,
                    "gradient_message": 10,
                    "parameters": 1000,
                    "optimizer": 2000,
                },
            }
            for stage in range(8)
        ],
        "latency": 0.01,
        "bandwidth": 1e5,
    }
    file = tmp_path / "costs.json"
    file.write_text(json.dumps(document))
    plan = hb.build("zb-v", ranks=4, micro_batches=8, cost=file)
    told = command_line("simulate", "zb-v", "--micro-batches", 8, "--cost-file", file, "--json")
    for run in (plan.simulate(cost=file), plan.simulate(cost=document)):
        assert run.makespan == told["makespan"]
        for ours, theirs in zip(run.memory, (rank["memory"] for rank in told["ranks"]), strict=True):
            for key, value in theirs.items():
                assert getattr(ours, key) == value, key
    assert plan.simulate().memory is None


def test_repeated_steps_have_a_period(command_line):
    plan = hb.build("1f1b", ranks=4, micro_batches=8, stage_updates=True)
    run = plan.simulate(repeat=5)
    told = command_line("simulate", "1f1b", "--micro-batches", 8, "--stage-updates", "on", "--repeat", 5, "--json")
    assert run.steady_step == told["steady_step"]
    assert run.steady_step_bubble_fraction == told["steady_step_bubble_fraction"]
    assert run.schedule.num_micro_batches == 40
    assert plan.simulate().steady_step is None


def test_channels_that_hold_up_their_ranks_need_messages(plan):
    assert not plan.simulate().messages_added
    held_up = plan.simulate(channel="rendezvous", latency=0.5)
    assert held_up.messages_added
    assert held_up.schedule.num_messages > 0
    assert held_up.makespan >= plan.simulate(latency=0.5).makespan


def test_sums_over_replicas_take_time():
    plan = hb.build("1f1b", ranks=2, micro_batches=4, data_parallel=2)
    run = plan.simulate(reduce_cost=2.0)
    assert max(run.reducing) == 2.0
    assert 0 <= max(run.exposed_reducing) <= 2.0
    assert run.makespan > plan.simulate().makespan


def test_pictures_are_those_of_the_command_line(plan, command_line):
    for form, text in (("svg", plan.svg()), ("html", plan.html()), ("trace", plan.trace())):
        assert text == command_line("simulate", "zb-v", "--micro-batches", 8, "--format", form), form
    assert plan._repr_svg_() == plan.svg() == plan.simulate().svg()
    assert json.loads(plan.trace())["traceEvents"]


def test_text_is_for_people(plan):
    assert repr(plan) == "<halfback.Schedule zb-v: 4 ranks, 8 stages, 8 micro-batches, split backward>"
    assert str(plan).count("\n") == 5
    assert "makespan" in repr(plan.simulate())
    assert "2F0" in repr([span for span in plan.simulate().spans() if span.action == "2F0"])

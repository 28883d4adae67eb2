"""Building, reading, checking and changing schedules."""

import copy
import pathlib
import pickle

import pytest

import halfback as hb


def names_of_families():
    return [family.name for family in hb.families()]


def micro_batches_of(name):
    """Micro-batches on 4 ranks that the family admits."""
    return {"naive": 1, "1f1b-1": 4}.get(name, 8)



@pytest.mark.parametrize("name", names_of_families())
def test_every_family_is_built_verified_and_travels_as_text(name):
    plan = hb.build(name, ranks=4, micro_batches=micro_batches_of(name))
    plan.verify()
    assert plan.num_ranks == 4
    assert len(plan.lists) == 4
    assert sum(map(len, plan.lists)) == plan.num_actions
    assert hb.parse(plan.to_csv()) == plan
    assert pickle.loads(pickle.dumps(plan)) == plan
    assert copy.deepcopy(plan) == plan
    assert sorted(stage for rank in range(4) for stage in set(plan.stages_of(rank))) == sorted(
        list(range(plan.num_stages)) * plan.num_replicas
    )
    run = plan.simulate()
    assert run.makespan > 0
    assert 0 <= run.bubble_fraction < 1


@pytest.mark.parametrize("name", names_of_families())
def test_every_family_has_the_numbers_of_the_command_line(name, command_line, tmp_path):
    micro_batches = micro_batches_of(name)
    shape = ("--ranks", 4, "--micro-batches", micro_batches, "--cost", "1,1.1,0.7")
    plan = hb.build(name, ranks=4, micro_batches=micro_batches, cost="1,1.1,0.7")
    assert plan.to_csv() == command_line("schedule", name, *shape, "--format", "csv")

    plan = hb.build(name, ranks=4, micro_batches=micro_batches, cost="1,1.1,0.7", latency=0.3)
    run = plan.simulate(cost="1,1.1,0.7", latency=0.3)
    told = command_line("simulate", name, *shape, "--latency", 0.3, "--json")
    for key in ("makespan", "bubble_fraction", "stage_step", "stage_step_bubble_fraction"):
        assert getattr(run, key) == told[key], key
    assert run.busy == [rank["busy"] for rank in told["ranks"]]
    assert run.peak_held == [rank["activation_peak"] for rank in told["ranks"]]

    file = tmp_path / "plan.csv"
    plan.save(file)
    told = command_line("verify", file, "--json")
    assert plan.smallest_channel == told["smallest_channel_capacity"]
    assert plan.runs_on("nccl") == told["runs_under_nccl"]
    assert plan.runs_on("nccl-pair") == told["runs_under_nccl_pair"]
    assert plan.activation_peak == told["activation_peak"]
    assert plan.num_actions == told["actions"]
    assert plan.two_stage == told["two_stage"]
    assert plan.weight_gradients_ascend == told["weight_gradients_ascend"]


def test_families_say_what_they_are():
    by_name = {family.name: family for family in hb.families()}
    assert "stages_per_rank" in by_name["interleaved-1f1b"].parameters
    assert "stages_per_rank" not in by_name["zb-v"].parameters
    assert by_name["zb-v"].summary
    assert "zb-v" in repr(by_name["zb-v"])


def test_parameters_have_the_names_of_the_options():
    assert hb.build("interleaved-1f1b", ranks=2, micro_batches=4, stages_per_rank=3).num_stages == 6
    assert hb.build("1f1b", ranks=2, two_stage=False).two_stage is False
    assert hb.build("1f1b", ranks=2, micro_batches=2, data_parallel=2).num_ranks == 4
    assert hb.build("1f1b", ranks=2, stage_updates=True).stage_updates
    assert hb.build("1f1b", ranks=2, losses="0:0,1:1").losses == "0:0,1:1"


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: hb.build("zb-x"), hb.ConfigError, "unknown family 'zb-x' (did you mean"),
        (lambda: hb.build("1f1b", stage_per_rank=2), TypeError, "'stage_per_rank' (did you mean stages_per_rank?)"),
        (lambda: hb.build("1f1b", stages_per_rank=2), hb.ConfigError, "--stages-per-rank"),
        (lambda: hb.build("1f1b", ranks="four"), TypeError, "ranks: expected int"),
        (lambda: hb.build("1f1b", ranks=0), hb.ConfigError, "rank"),
        (lambda: hb.build("1f1b", micro_batches=-1), hb.ConfigError, "micro"),
        (lambda: hb.build("interleaved-1f1b", stages_per_rank=1.5), TypeError, "stages_per_rank: expected int"),
        (lambda: hb.build("plan.csv"), hb.ConfigError, "unknown family 'plan.csv'"),
        (lambda: hb.load("nowhere.csv"), hb.FileError, "nowhere.csv"),
        (lambda: hb.parse("0F0,0X0"), hb.ScheduleError, "0X0"),
        (lambda: hb.parse(""), hb.ScheduleError, "schedule"),
        (lambda: hb.build("1f1b").stages_of(4), IndexError, "the ranks are 0 to 3"),
        (lambda: hb.build("1f1b").runs_on("udp"), hb.ConfigError, "udp"),
        (lambda: hb.build("1f1b").to_csv("numpy"), hb.ConfigError, "expected halfback or torch"),
        (lambda: hb.build("local-greedy").to_csv("torch"), hb.ConfigError, "has no place for the losses"),
        (lambda: hb.build("1f1b").simulate(cost="1,1"), hb.ConfigError, "2 numbers"),
        (lambda: hb.build("1f1b").simulate(cost=[1, 1]), hb.ConfigError, "2 numbers"),
        (lambda: hb.build("1f1b").simulate(cost=[[1, 1, 1]] * 3), hb.ConfigError, "costs of 3 stages"),
        (lambda: hb.build("1f1b").simulate(cost=[1, -1, 1]), hb.ConfigError, "-1"),
        (lambda: hb.build("1f1b").simulate(cost=object()), TypeError, "cost: expected"),
        (lambda: hb.build("1f1b").simulate(cost={"stages": [{"forwards": 1}]}), hb.ConfigError, "forwards"),
        (lambda: hb.build("1f1b").simulate(cost=pathlib.Path("nowhere.json")), hb.FileError, "nowhere.json"),
        (lambda: hb.build("1f1b").simulate(bandwidth=1.0), hb.ConfigError, "without the bytes of messages"),
        (lambda: hb.build("1f1b").simulate(memory=3), TypeError, "memory: expected"),
        (lambda: hb.build("1f1b").simulate(repeat=2), hb.ConfigError, "U"),
        (lambda: hb.build("1f1b").verify(activation_limit=1.0), hb.ScheduleError, "M_B"),
        (lambda: hb.Schedule(), TypeError, ""),
    ],
)
def test_errors_say_what_was_found(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert text in str(caught.value)


def test_a_fault_has_its_place():
    with pytest.raises(hb.ScheduleError) as caught:
        hb.parse("0F0,0W0,0I0\n1F0,1B0\n", "plan.csv")
    error = caught.value
    assert (error.rank, error.position, error.action) == (0, 1, "0W0")
    assert str(error).startswith("plan.csv: ")
    assert isinstance(error, hb.Error)
    assert isinstance(error, ValueError)
    again = pickle.loads(pickle.dumps(error))
    assert (again.rank, again.position, again.action, str(again)) == (0, 1, "0W0", str(error))


def test_a_text_that_does_not_parse_has_no_place():
    with pytest.raises(hb.ScheduleError) as caught:
        hb.parse("0F0,what")
    assert caught.value.rank is None
    assert "line 1" in str(caught.value)


def test_verify_and_runs_on_agree():
    plan = hb.build("zb-v", ranks=4, micro_batches=8)
    assert plan.smallest_channel == 2
    plan.verify(channel="2")
    for channel in ("1", "rendezvous", "nccl-pair"):
        assert not plan.runs_on(channel)
        with pytest.raises(hb.ScheduleError) as caught:
            plan.verify(channel=channel)
        assert caught.value.rank is not None
        reordered = plan.with_messages(channel)
        assert reordered.runs_on(channel)
        reordered.verify(channel=channel)


def test_passes_return_others():
    plan = hb.build("1f1b", ranks=2, micro_batches=4)
    assert plan.num_messages == 0
    with_messages = plan.with_messages()
    assert with_messages.num_messages == 8
    assert with_messages.without_messages() == plan
    assert plan.num_messages == 0
    assert plan.with_updates().stage_updates
    twice = plan.data_parallel(2)
    assert (twice.num_ranks, twice.num_replicas, twice.num_micro_batches) == (4, 2, 8)
    assert "REDUCE_GRAD" in twice.to_csv()
    assert plan.with_losses("0:0,1:1").losses == "0:0,1:1"
    assert plan.on_one_rank().num_ranks == 1
    assert plan != with_messages


def test_torch_reads_what_is_saved_for_it(tmp_path):
    plan = hb.build("zb-v", ranks=4, micro_batches=8)
    assert plan.check_for_torch() == []
    assert plan.with_messages().check_for_torch() == []
    assert len(hb.build("local-greedy").with_messages().check_for_torch()) == len(hb.build("local-greedy").check_for_torch())
    plan.save(tmp_path / "ours.csv")
    (finding,) = hb.load(tmp_path / "ours.csv").check_for_torch()
    assert finding.kind == "refused"
    assert "a comment" in finding.text
    plan.with_messages().save(tmp_path / "theirs.csv", dialect="torch")
    theirs = hb.load(tmp_path / "theirs.csv")
    assert theirs.check_for_torch() == []
    assert theirs.name == "theirs"
    assert [finding.kind for finding in hb.build("local-greedy").check_for_torch()][0] == "refused"


def test_a_file_that_is_there_stays_when_the_new_one_cannot_be_made(tmp_path):
    file = tmp_path / "plan.csv"
    hb.build("1f1b").save(file)
    before = file.read_text()
    with pytest.raises(hb.ConfigError):
        hb.build("local-greedy").save(file, dialect="torch")
    assert file.read_text() == before

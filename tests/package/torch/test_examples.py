"""The programs in python/examples run as they stand, and show what they say."""

import pathlib
import runpy

import pytest
from test_stages import torchrun

import halfback as hb

ROOT = pathlib.Path(__file__).parents[3]
EXAMPLES = ROOT / "python/examples"


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a program in this process, which has imported all; returns what it prints."""

    def call(name, *arguments):
        monkeypatch.setattr("sys.argv", [name, *arguments])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return call


def test_a_llama_has_the_same_losses_in_threads_and_over_processes_by_another_schedule(run, tmp_path):
    alone = run("train_llama.py")
    assert alone.count("step ") == 5
    file = tmp_path / "plan.csv"
    hb.build("zb-v", ranks=2, micro_batches=8).save(file, dialect="torch")
    done = torchrun(2, str(file), program=EXAMPLES / "train_llama.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout == alone


def test_schedules_print_what_the_document_shows(run, tmp_path):
    file = tmp_path / "plan.csv"
    printed = run("schedules.py", str(file))
    drawing, table = printed.split("\n\n")
    assert drawing == str(hb.build("zb-v", ranks=4, micro_batches=8)).strip()
    assert table in (ROOT / "docs/python.md").read_text()
    assert hb.load(file).num_messages > 0


def test_the_loop_of_torch_has_the_bits_of_eager():
    families = ["zb-v", "zb-h1", "1f1b"]
    done = torchrun(2, *families, program=EXAMPLES / "own_loop.py")
    assert done.returncode == 0, done.stdout + done.stderr
    for family in families:
        count = 12 * hb.build(family, ranks=2).num_stages // 2
        for rank in range(2):
            assert f"{family}, rank {rank}: {count} of {count} gradients have the bits of eager" in done.stdout

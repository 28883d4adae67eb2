"""What an import costs, and what a wheel has inside."""

import importlib.metadata
import pathlib
import subprocess
import sys

import halfback as hb


def in_new_python(program):
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True).stdout


def test_an_import_loads_neither_torch_nor_numpy():
    loaded = in_new_python("import sys, halfback; print(*sys.modules)").split()
    assert not {"torch", "numpy", "pandas"} & set(loaded)


def test_everything_in_all_is_there():
    assert sorted(hb.__all__) == sorted(set(hb.__all__))
    for name in hb.__all__:
        assert getattr(hb, name) is not None
    namespace = {}
    exec("from halfback import *", namespace)
    assert set(hb.__all__) <= set(namespace)


def test_the_version_is_that_of_the_distribution():
    assert hb.__version__ == importlib.metadata.version("halfback")


def test_the_wheel_is_typed_and_small():
    folder = pathlib.Path(hb.__file__).parent
    assert (folder / "py.typed").exists()
    stub = (folder / "_core.pyi").read_text()
    for name in hb.__all__:
        if name not in ("ConfigError", "Error", "FileError", "ScheduleError"):
            assert name in stub, name
    (binary,) = folder.glob("_core*.so")
    assert binary.stat().st_size < 2_000_000


def test_types_are_those_of_the_objects():
    use = pathlib.Path(__file__).with_name("typed_use.py")
    for arguments, expected in (([use], 0), (["-c", "import halfback\nhalfback.build('1f1b', rank=4)"], 1)):
        done = subprocess.run(
            [sys.executable, "-m", "mypy", "--strict", "--cache-dir", "/dev/null", *arguments],
            capture_output=True, text=True, timeout=300, check=False,
        )
        assert done.returncode == expected, done.stdout + done.stderr

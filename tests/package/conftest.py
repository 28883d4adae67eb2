"""What the tests of the installed package share: the command line beside it."""

import json
import os
import subprocess

import pytest


@pytest.fixture(scope="session")
def command_line():
    """Runs ``halfback ARGUMENTS`` and returns what it prints; JSON as objects."""
    program = os.environ.get("HALFBACK_PROGRAM")
    assert program, "set HALFBACK_PROGRAM to the binary of the command line; ./hb test does"

    def run(*arguments):
        done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if "json" in arguments or "--json" in arguments else done.stdout

    return run

"""What the documents show, runs and prints that."""

import contextlib
import io
import pathlib
import re
import subprocess
import sys

import nbformat
from nbclient import NotebookClient

ROOT = pathlib.Path(__file__).parents[2]


def test_programs_of_the_document_print_what_it_shows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs/python.md").read_text()
    programs = re.findall(r"```python\n(.*?)```(?:\n\nprints\n\n```\n(.*?)```)?", text, re.DOTALL)
    assert len(programs) == 5
    assert sum(bool(printed) for _, printed in programs) == 2
    for program, printed in programs:
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(compile(program, "docs/python.md", "exec"), {})
        assert output.getvalue() == printed


def test_the_reference_is_that_of_the_packages():
    subprocess.run([sys.executable, ROOT / "python/reference.py", "--check", ROOT / "docs/python_reference.md"], timeout=60, check=True)


def shown(cells):
    """What cells print and draw, without what differs from run to run."""
    found = []
    for cell in cells:
        if cell.cell_type == "code":
            outputs = [one.get("text") or dict(one.get("data", {})) for one in cell.outputs]
            found.append((cell.source, outputs))
    return found


def test_the_notebook_shows_what_it_computes():
    path = ROOT / "docs/halfback.ipynb"
    stored = nbformat.read(path, as_version=4)
    executed = nbformat.read(path, as_version=4)
    NotebookClient(executed, timeout=120, kernel_name="python3").execute()
    assert shown(executed.cells) == shown(stored.cells)

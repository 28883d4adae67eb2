#!/usr/bin/env python3
"""Writes docs/python_reference.md from the packages as they are installed: stubs, signatures and docstrings.

    reference.py FILE            writes the page
    reference.py --check FILE    exits with 1 if the page is not what would be written
"""

import ast
import importlib.util
import inspect
import pathlib
import re
import sys

sys.path.pop(0)  # the packages as installed, not the sources beside this file

HEAD = """# Reference of the Python packages

`python/reference.py` writes this page from the packages; do not edit it. [python.md](python.md) explains what they are for.
"""
SECTIONS = (  # heading, package, files in their order, and names that come first
    ("halfback", "halfback", ("_core.pyi", "errors.py", "types.py"), ("build", "load", "parse", "families", "Schedule", "Run")),
    ("halfback.torch", "halfback.torch", ("split.py", "stage.py", "runtime.py", "cut.py", "part.py", "pipeline.py"),
     ("Split", "Graph", "SplitStage", "runtime", "cut", "Part", "Pipeline", "Step", "Evaluation")),
)


def folder_of(package):
    """Without importing it, so that neither torch nor the binary is needed."""
    top, _, rest = package.partition(".")
    spec = importlib.util.find_spec(top)
    if spec is None:
        sys.exit(f"error: {package} is not installed; run: ./hb python")
    return pathlib.Path(spec.submodule_search_locations[0], *rest.split(".") if rest else ())


def text_of(node):
    return inspect.cleandoc(ast.get_docstring(node, clean=False) or "")


def shown(text):
    """A docstring as Markdown: ``code`` becomes `code`, arguments become a list, and indented examples stay."""
    lines, in_section = [], False
    for line in text.replace("``", "`").splitlines():
        if re.fullmatch(r"(Args|Returns|Raises|Attributes):", line):
            lines += [f"*{line[:-1]}*", ""]
            in_section = True
            continue
        in_section = in_section and (not line or line.startswith(" "))
        line = line[4:] if in_section else line
        lines.append(re.sub(r"^(halfback\.[A-Za-z]+|[a-z_]{2,}(?:, [a-z_]+)*): ", r"* `\1`: ", line))
    # What continues an item of a list is indented as the item's text.
    for i in range(1, len(lines)):
        if lines[i].startswith("    ") and re.match(r"\* |  \S", lines[i - 1]):
            lines[i] = "  " + lines[i].lstrip()
    return "\n".join(lines)


def signature(node, name):
    arguments = re.sub(r"(?<=[\w\]])=(?=\S)", " = ", ast.unparse(node.args).replace("self, ", "").replace("self", ""))
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{name}({arguments.removeprefix('/, ')}){returns}"


def is_property(node):
    return any(isinstance(one, ast.Name) and one.id == "property" for one in node.decorator_list)


def members(node):
    return [one for one in node.body if isinstance(one, ast.FunctionDef) and not one.name.startswith("_") and text_of(one)]


def type_of(node):
    """Of a property; an array says its element."""
    text = ast.unparse(node.returns)
    if "NDArray" in text:
        element = text.split("NDArray[numpy.")[1].split("]")[0]
        return f"array of {element}"
    return text


def function_entry(node, level, name=None):
    return f"{'#' * level} `{signature(node, name or node.name)}`\n\n{shown(text_of(node))}\n"


def class_entry(node):
    bases = ", ".join(ast.unparse(one) for one in node.bases)
    parts = [f"### class `{node.name}{f'({bases})' if bases else ''}`\n\n{shown(text_of(node))}\n"]
    facts = [one for one in members(node) if is_property(one)]
    if facts:
        rows = [f"| `{one.name}` | {type_of(one)} | {' '.join(shown(text_of(one)).split())} |" for one in facts]
        parts.append("| property | type | |\n| --- | --- | --- |\n" + "\n".join(row.replace(" | None |", " \\| None |") for row in rows) + "\n")
    parts += [function_entry(one, 4, f"{node.name}.{one.name}") for one in members(node) if not is_property(one)]
    return "\n".join(parts)


def entries(folder, files, first):
    nodes = [node for file in files for node in ast.parse((folder / file).read_text()).body]
    public = {node.name: node for node in nodes if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")}
    exported = ast.parse((folder / "__init__.py").read_text())
    names = next(ast.literal_eval(node.value) for node in exported.body if isinstance(node, ast.Assign) and node.targets[0].id == "__all__")
    for name in [*first, *(name for name in names if name not in first)]:
        if name in public:
            node = public[name]
            yield class_entry(node) if isinstance(node, ast.ClassDef) else function_entry(node, 3)


def page():
    parts = [HEAD]
    for heading, package, files, first in SECTIONS:
        folder = folder_of(package)
        parts.append(f"## {heading}\n\n{shown(text_of(ast.parse((folder / '__init__.py').read_text())))}\n")
        parts += entries(folder, files, first)
    return "\n".join(parts)


def main():
    checks = "--check" in sys.argv[1:]
    (file,) = [pathlib.Path(one) for one in sys.argv[1:] if one != "--check"]
    text = page()
    if not checks:
        file.write_text(text)
    elif not file.exists() or file.read_text() != text:
        sys.exit(f"{file} is not what the packages say; write it: build/python/venv/bin/python python/reference.py {file}")


if __name__ == "__main__":
    main()

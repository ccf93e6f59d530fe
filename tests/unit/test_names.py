"""A name says one thing in the whole package."""

import ast
from collections import defaultdict
from pathlib import Path

import simulator


def test_no_class_and_no_public_function_has_the_name_of_another() -> None:
    homes = defaultdict(list)
    for path in sorted(Path(simulator.__file__).parent.rglob("*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                homes[node.name].append(path.name)
    assert not {name: files for name, files in homes.items() if len(files) > 1}

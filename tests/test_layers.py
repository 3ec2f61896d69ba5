"""Packages import downward only: docs/design.md draws the floors, and this reads the imports."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import promptctl

ROOT = Path(promptctl.__file__).parent
FLOORS = (
    {"cli"},
    {"commands", "demo"},
    {"distributed", "hub"},
    {"benchmark", "render"},
    {"classification", "report", "review", "sorting"},
    {"learners"},
    {"data"},
    {"clip"},
    {"encoding", "store"},
    {"context"},
    {"cells", "checks", "errors", "lossy_table", "paths", "progress", "remote", "signals", "typed"},
)
FLOOR = {package: floor for floor, packages in enumerate(FLOORS) for package in packages}
# a card is checked against the table of learners, which imports nothing, so that a new learner is one entry
# and a notebook asks a report itself how it is shown
CLIMBS = {("context/limits.py", "learners"), ("report/base.py", "render")}


def packages_imported_by(tree):
    """Names below `promptctl`, wherever in the file they are imported, except for types alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "promptctl":
            if node.module == "promptctl":
                yield from (alias.name for alias in node.names)
            else:
                yield node.module.split(".")[1]
        yield from packages_imported_by(node)


def test_packages_import_downward_only():
    climbs = set()
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT)
        home = name.parts[0].removesuffix(".py")
        if home not in FLOOR:  # the package's own face, and the recipe of mini
            continue
        for other in packages_imported_by(ast.parse(path.read_text(encoding="utf-8"))):
            same = other == home or other not in FLOOR  # `from promptctl import __version__`
            values = FLOOR[home] == FLOOR.get(other) == len(FLOORS) - 1
            if not same and not values and FLOOR[other] <= FLOOR[home]:
                climbs.add((name.as_posix(), other))
    assert climbs == CLIMBS


def test_the_tree_of_the_docs_names_every_module():
    if not (page := ROOT.parent / "docs" / "design.md").exists():
        pytest.skip("installed without its docs")
    tree = page.read_text("utf-8").partition("## The tree")[2].partition("\n## ")[0]
    one_per_command = {"cli/commands", "commands", "report"}
    verbs = {path.stem for path in (ROOT / "cli" / "commands").iterdir()}
    paths = [path.relative_to(ROOT) for path in ROOT.rglob("*.py") if "recipe" not in path.parts]
    unnamed = [
        path.as_posix()
        for path in paths
        if not re.search(rf"\b{path.name}\b", tree)
        and not (path.parent.as_posix() in one_per_command and path.stem in verbs)
    ]
    assert unnamed == []


def test_every_module_stands_on_a_floor():
    found = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert found - {"__init__", "__main__", "mini"} == set(FLOOR)

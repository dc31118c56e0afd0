"""The import graph of the package against the layers it was designed in. Reads the sources; imports nothing."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "jaxreason"
LAYERS = (
    ("types", "config"),
    ("ops", "parallel"),
    ("policy",),
    ("sampling", "rewards", "grading", "data"),
    ("grpo", "tasks"),
    ("agents",),
    ("warmup",),
    ("run",),
    ("evaluation",),
    ("train", "generate", "export", "report", "plan"),
    ("compare",),
    ("cli",),
    ("__main__",),
)
"""Lowest first. A room imports itself and what is below it."""
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
NEVER = {"rewards": {"policy", "sampling"}, "grpo": {"policy", "sampling"}}
"""Their log-probability function is handed in."""
HOST_PLACES = (
    "config",
    "grading",
    "run/files.py",
    "run/folder.py",
    "run/interrupt.py",
    "run/monitor.py",
    "run/progress.py",
    "run/provenance.py",
)
"""What must be importable without starting JAX."""


def _sources():
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


def _room(path: Path) -> str:
    part = path.relative_to(PACKAGE).parts[0]
    return part.removesuffix(".py")


def _inside(path: Path, place: str) -> bool:
    return path.relative_to(PACKAGE).is_relative_to(place)


def _imports(path: Path, *, top_only: bool = False) -> set[str]:
    """Full names of the modules a file imports, `from a import b` as a.b, relative ones resolved."""
    names = set()
    tree = ast.parse(path.read_text())
    here = ["jaxreason", *path.relative_to(PACKAGE).parts[:-1]]
    for node in tree.body if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names |= {f"{module}.{alias.name}" for alias in node.names}
    return names


def _rooms_imported(path: Path) -> set[str]:
    parts = [name.split(".") for name in _imports(path)]
    return {p[1] for p in parts if p[0] == "jaxreason" and len(p) > 1 and p[1] in LEVEL}


def _forbidden(room: str, other: str) -> bool:
    if other == room:
        return False
    if other in NEVER.get(room, ()):
        return True
    return LEVEL[other] >= LEVEL[room]


def test_every_module_has_a_layer():
    unknown = sorted({_room(path) for path in _sources()} - LEVEL.keys())
    assert not unknown, f"not in LAYERS: {unknown}"


def test_imports_point_down():
    edges = [
        f"{path.relative_to(PACKAGE.parent)} -> {other}"
        for path in _sources()
        for other in sorted(_rooms_imported(path))
        if _room(path) in LEVEL and _forbidden(_room(path), other)
    ]
    assert not edges, f"imports that do not point down: {edges}"


@pytest.mark.parametrize(
    ("package", "place"),
    [
        ("flax", "policy"),
        ("orbax", "run/checkpoint.py"),
        ("math_verify", "grading"),
        ("tensorboardX", "run/folder.py"),
        ("sentencepiece", "data/tokenizer.py"),
    ],
)
def test_a_package_is_known_to_one_place_only(package, place):
    """Each can then be replaced in one place."""
    users = [p for p in _sources() if any(name.split(".")[0] == package for name in _imports(p))]
    assert users
    assert not [str(p) for p in users if not _inside(p, place)]


def test_host_rooms_do_not_start_jax():
    """A grading worker with jax in it would claim the accelerator; a report would wait for it."""
    guilty = [
        str(path.relative_to(PACKAGE))
        for path in _sources()
        if any(_inside(path, place) for place in HOST_PLACES)
        and any(name.split(".")[0] in ("jax", "jaxlib", "flax", "chex") for name in _imports(path, top_only=True))
    ]
    assert not guilty


def test_the_test_sees_a_forbidden_edge():
    """That it is not vacuous: the edges it exists for, and relative imports."""
    assert _forbidden("policy", "rewards")
    assert _forbidden("grpo", "policy")
    assert _forbidden("rewards", "grpo")
    assert _forbidden("evaluation", "train")
    assert _forbidden("generate", "export")
    assert not _forbidden("agents", "grading")
    assert not _forbidden("train", "evaluation")
    assert "jaxreason.config.MonitorConfig" in _imports(PACKAGE / "run/monitor.py")
    assert "config" in _rooms_imported(PACKAGE / "run/monitor.py")

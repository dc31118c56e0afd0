"""Who may grade without a time limit: the pool's worker alone. Reads the sources."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
UNBOUNDED = {"grade", "symbolic", "math_verify_alone"}
"""Functions of jaxreason/grading that run algebra in the process that calls them."""
INSIDE = {"grading/audit.py", "grading/answers.py", "grading/baselines.py", "grading/worker.py", "tasks/boxed_math.py"}
GRADERS = {"boxed_math": "tasks/base.py", "task": "tasks/judge.py"}
"""Whose `grade` is called in one file alone: the default task's by the class of tasks, a task's in a worker."""


def _sources():
    folders = ("jaxreason", "eval", "notebooks")
    return [p for folder in folders for p in sorted((ROOT / folder).rglob("*.py"))]


def test_nothing_that_reads_model_text_runs_outside_the_pool():
    """One answer of four sevens stops a whole evaluation that grades in its own process."""
    guilty, audits = [], 0
    for path in _sources():
        if f"{path.parent.name}/{path.name}" in INSIDE:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            imported = {a.name for a in node.names} if isinstance(node, ast.ImportFrom) else set()
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            if (module.startswith("jaxreason.grading") and imported & UNBOUNDED) or module.startswith("math_verify"):
                guilty.append(f"{path}:{node.lineno}")
            if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
                continue
            if node.value.id in ("answers", "baselines") and node.attr in UNBOUNDED:
                guilty.append(f"{path}:{node.lineno}")
            if node.attr == "grade" and f"{path.parent.name}/{path.name}" != GRADERS.get(node.value.id):
                guilty.append(f"{path}:{node.lineno}")
            audits += node.value.id == "answers" and node.attr == "audit"
    assert not guilty
    assert audits == 1, "a test below looks at one caller of `audit`"


def test_the_audit_of_golds_is_given_a_pool():
    """A gold of a downloaded file can be a bomb as well."""
    (call,) = [
        node
        for node in ast.walk(ast.parse((ROOT / "jaxreason/cli/problems.py").read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "answers.audit"
    ]
    assert ast.unparse(call.args[1]) == "pool.verify"

"""What several processes refuse together, with the other process played by a stand-in."""

import jax
import pytest

from jaxreason.cli import main
from jaxreason.parallel import hosts
from tests import runs


def _beside(monkeypatch, said) -> None:
    """This is process 0 of two; the other one passes on `said`."""
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(hosts, "gather", lambda value: [value, said])


def test_what_one_process_cannot_read_all_refuse(monkeypatch):
    """Catches a host without the file that leaves the others waiting in their next collective."""

    def missing():
        raise ValueError("x.jsonl: expected a JSONL file of problems")

    assert hosts.together(lambda: 5) == 5
    with pytest.raises(ValueError, match=r"^x\.jsonl"):
        hosts.together(missing)
    _beside(monkeypatch, "y: got none")
    with pytest.raises(ValueError, match=r"^process 1: y: got none"):
        hosts.together(lambda: 5)
    _beside(monkeypatch, None)
    assert hosts.together(lambda: 5) == 5
    with pytest.raises(ValueError, match=r"^process 0: x\.jsonl"):
        hosts.together(missing)


def test_a_question_is_answered_by_one_process(monkeypatch, tmp_path, capsys):
    """Before the policy is looked for: several would each load it, and wait for each other."""
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    assert main(["generate", str(tmp_path), "1+1?", runs.NO_CACHE]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "expected one process, got 4" in line
    assert "jaxreason evaluate" in line

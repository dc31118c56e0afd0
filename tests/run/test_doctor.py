"""`jaxreason doctor`: what is missing is named with what to do, and nothing that is there is called missing."""

import shutil

import pytest

from jaxreason.run import doctor
from tests import runs


def _by_name(cache: str = "") -> dict[str, doctor.Finding]:
    return {found.name: found for found in doctor.findings(cache)}


def test_a_machine_in_order_needs_nothing(tmp_path):
    found = _by_name(str(tmp_path))
    assert found["jax"].remedy == ""
    assert found["cpu"].value.startswith("8 x ")
    assert "GiB free of" in found["memory"].value
    assert found["mkdocs"].remedy == ""
    assert found[f"compiled programs, {tmp_path}"].value.startswith("empty")


def test_optional_parts_that_are_missing_come_with_their_command(monkeypatch):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    found = _by_name()
    assert found["wandb"] == ("optional", "wandb", "missing; run.report_to=[wandb]", "pip install wandb")


@pytest.mark.parametrize("there", [True, False])
def test_an_accelerator_that_jax_does_not_see_is_named(monkeypatch, there):
    which = shutil.which
    monkeypatch.setattr(doctor.shutil, "which", lambda name: "/bin/x" * there if name == "nvidia-smi" else which(name))
    assert ("jax[cuda13]" in _by_name()["cpu"].remedy) == there


def test_the_command_prints_every_finding(capsys):
    assert runs.main(["doctor"]) == 0
    shown = capsys.readouterr().out
    for name in ("versions", "devices", "places", "optional", "orbax-checkpoint", "processors"):
        assert name in shown

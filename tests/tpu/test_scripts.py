"""Each script of tpu/ against a played gcloud: what it calls, what it refuses, and what reaches the workers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tpu.slice import ROOT

pytestmark = pytest.mark.slow

SCRIPTS = sorted((ROOT / "tpu").glob("*.sh")) + sorted((ROOT / "tpu" / "worker").glob("*.sh"))
COMMANDS = [script.name for script in SCRIPTS if script.parent.name == "tpu" and script.name != "lib.sh"]


def printed(dry: subprocess.CompletedProcess) -> list[list[str]]:
    """The gcloud lines of a dry run, as the shell would read them."""
    read = subprocess.run(
        ["bash", "-c", 'gcloud() { printf "%s\\0" "$@"; printf "\\n\\0"; }; ' + dry.stdout],
        check=True,
        capture_output=True,
        text=True,
    )
    return [call.split("\0")[:-1] for call in read.stdout.split("\n\0") if call]


def test_shellcheck_finds_nothing():
    """Unquoted variables, unused names, what bash reads otherwise than it looks."""
    found = subprocess.run(
        [Path(sys.executable).with_name("shellcheck"), *SCRIPTS],
        capture_output=True,
        text=True,
        cwd=ROOT / "tpu",
    )
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("script", COMMANDS)
def test_help_needs_no_settings_and_tells_each_flag(cloud, script):
    """Help that dies because tpu/env is missing, or that lacks a flag the script reads."""
    cloud.environment["JAXREASON_TPU_ENV"] = "/nowhere"
    text = cloud.run(script, "--help").stdout
    assert f"tpu/{script}" in text
    assert "--dry-run" in text
    assert "--env" in text
    assert not text.startswith("#")
    assert "source" not in text
    assert cloud.calls() == []


@pytest.mark.parametrize("script", [name for name in COMMANDS if name not in ("launch.sh", "babysit.sh")])
def test_a_misspelt_flag_is_refused(cloud, script):
    done = cloud.run(script, "--dryrun", code=2)
    assert "--dryrun" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert cloud.calls() == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"ZONE": ""}, "ZONE: not set"),
        ({"PROJECT": ""}, "PROJECT: not set"),
        ({"ACCELERATOR_TYPE": "v5e-8"}, "ACCELERATOR_TYPE: expected one of v5litepod-1, "),
        ({"ACCELERATOR_TYPE": "tpu7x-16"}, "tpu/xpk.md"),
        ({"BUCKET": "bucket"}, "BUCKET: expected gs://NAME, got bucket"),
        ({"SPOT": "true"}, "SPOT: expected yes or no, got true"),
    ],
)
def test_a_wrong_setting_is_named_before_anything_is_called(cloud, change, told):
    cloud.settings |= change
    done = cloud.run("create.sh", code=2)
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert cloud.calls() == []


def test_missing_gcloud_and_missing_settings_have_a_remedy(cloud):
    os.unlink(cloud.fake / "bin" / "gcloud")
    assert "https://cloud.google.com/sdk" in cloud.run("status.sh", code=2).stderr
    (cloud.fake / "bin" / "gcloud").symlink_to("/bin/true")
    assert "cp tpu/env.example tpu/env" in cloud.run("status.sh", "--env", "/nowhere", code=2).stderr


def test_the_example_settings_are_accepted(cloud):
    done = cloud.run("create.sh", "--dry-run", "--env", str(ROOT / "tpu" / "env.example"))
    assert "--accelerator-type=v5litepod-8" in done.stdout
    assert "--spot" in done.stdout


def test_create_asks_once_and_waits_until_active(cloud):
    """A create that is asked again while it is queued makes a second slice, at twice the cost."""
    done = cloud.run("create.sh")
    creates = [call for call in cloud.calls() if call[3] == "create"]
    assert len(creates) == 1
    assert {"--spot", "--accelerator-type=v5litepod-8", "--runtime-version=v2-alpha-tpuv5-lite"} <= set(creates[0])
    assert [word for word in ("WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE") if word in done.stderr]
    cloud.forget()
    cloud.run("create.sh")
    assert not [call for call in cloud.calls() if call[3] == "create"]


def test_create_ends_with_a_code_of_its_own(cloud):
    """Still queued is 4 and can be gone on with; failed is 1; an answer that is no answer is never taken for ABSENT."""
    cloud.scenario(queue=["WAITING_FOR_RESOURCES"])
    assert "stays in the queue" in cloud.run("create.sh", code=4, WAIT_SECONDS="1").stderr
    cloud.scenario(state=["FAILED"])
    assert "tpu/delete.sh" in cloud.run("create.sh", code=1).stderr
    os.unlink(cloud.fake / "bin" / "gcloud")
    (cloud.fake / "bin" / "gcloud").write_text('#!/bin/sh\necho "ERROR: PERMISSION_DENIED" >&2\nexit 1\n')
    (cloud.fake / "bin" / "gcloud").chmod(0o755)
    told = cloud.run("create.sh", code=1).stderr
    assert "PERMISSION_DENIED" in told
    assert "gcloud auth login" in told


def test_on_demand_leaves_spot_out(cloud):
    assert "--spot" not in cloud.run("create.sh", "--on-demand", "--dry-run").stdout
    cloud.settings["SPOT"] = "no"
    assert "--spot" not in cloud.run("create.sh", "--dry-run").stdout
    assert "--spot" in cloud.run("create.sh", "--spot", "--dry-run").stdout


def test_setup_twice_installs_once(cloud):
    """Idempotence; and a change of the pins installs again."""
    cloud.run("create.sh")
    cloud.run("setup.sh")
    cloud.run("setup.sh")
    installs = [line for line in (cloud.home() / "python-calls").read_text().splitlines() if "--editable" in line]
    assert installs == [
        "-m pip install --quiet --disable-pip-version-check --constraint jaxreason/requirements.lock "
        "--editable jaxreason[tpu]"
    ]
    (cloud.repository / "requirements.lock").write_text("jax==9\n")
    cloud.commit()
    cloud.run("setup.sh")
    calls = (cloud.home() / "python-calls").read_text()
    assert calls.count("--editable") == 2
    assert calls.count("-m venv") == 1


def test_setup_gets_a_newer_python_where_the_image_is_old(cloud):
    (cloud.fake / "old_python").touch()
    cloud.run("create.sh")
    cloud.run("setup.sh")
    calls = (cloud.home() / "python-calls").read_text()
    assert "-m pip install --quiet --user uv\n" in calls
    assert "-m uv venv --quiet --seed --python 3.11" in calls


def test_setup_survives_a_slice_that_is_slow_to_answer(cloud):
    """Fresh workers refuse ssh for a while."""
    cloud.run("create.sh")
    cloud.scenario(fail_ssh=2)
    done = cloud.run("setup.sh")
    assert done.stderr.count("failed (exit 255)") == 2
    assert (cloud.home() / "jaxreason-venv" / ".installed").exists()


def test_setup_that_fails_says_so_and_is_not_taken_for_done(cloud):
    cloud.run("create.sh")
    (cloud.fake / "no_packages").touch()
    assert "No matching distribution" in cloud.run("setup.sh", code=1, SSH_TRIES="2").stderr
    assert not (cloud.home() / "jaxreason-venv" / ".installed").exists()
    (cloud.fake / "no_packages").unlink()
    cloud.run("setup.sh")


def test_launch_brings_the_commit_and_finishes(cloud):
    cloud.ready()
    cloud.run("launch.sh", "configs/demo.yaml", "--run.max_steps=3")
    cloud.ended()
    head = cloud.git("rev-parse", "HEAD")
    there = subprocess.run(
        ["git", "-C", cloud.home() / "jaxreason", "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    assert there.stdout.strip() == head
    runs = cloud.home() / "runs"
    assert cloud.argv() == [
        [
            *["train", "configs/demo.yaml", "--resume", f"--run.output_dir={runs / 'demo'}"],
            *[f"--run.compilation_cache_dir={runs / '.xla'}", "--run.max_steps=3"],
        ]
    ]
    assert (cloud.home() / "jaxreason-state" / "exit").read_text() == "0\n"
    copied = cloud.fake / "bucket" / "bucket"
    assert (copied / "runs" / "demo" / "results.json").exists()
    assert head in (copied / "logs" / "demo.log").read_text()


def test_overrides_reach_the_trainer_as_they_are(cloud):
    """Two shells lie between: the script's and the worker's."""
    overrides = [
        "--data.train=a file.jsonl",
        '--data.train=it\'s "quoted" $HOME `id` \\ * ; exit 1 #',
        "--grpo.beta=[0, 0, 0.3]",
        "--data.train=two\nlines",
        "--data.train=",
        "--data.train=Grüße",
    ]
    cloud.ready()
    cloud.run("launch.sh", "configs/demo.yaml", *overrides)
    cloud.ended()
    assert cloud.argv()[0][-len(overrides) :] == overrides


def test_launch_refuses_what_could_not_be_repeated(cloud):
    """A commit that is not one, a configuration that is not in it, words that this script sets."""
    cloud.ready()
    for words, told in (
        (["configs/none.yaml"], "configs/none.yaml: not a file of commit"),
        ([], "expected a CONFIG"),
        (["configs/demo.yaml", "--run.output_dir=x"], "--run.output_dir: set by RUNS_DIR"),
        (["configs/demo.yaml", "--run.max_steps", "3"], "expected --run.max_steps=value"),
        (["configs/demo.yaml", "--name", "a b"], "--name: expected letters"),
        (["configs/demo.yaml", "configs/demo.yaml"], "not an argument"),
    ):
        assert told in cloud.run("launch.sh", *words, code=2).stderr
    (cloud.repository / "pyproject.toml").write_text("# changed\n")
    assert "uncommitted changes ( M pyproject.toml" in cloud.run("launch.sh", "configs/demo.yaml", code=2).stderr
    assert cloud.calls() == []


def test_allow_dirty_takes_changed_files_along_and_names_the_rest(cloud):
    cloud.ready()
    (cloud.repository / "configs" / "demo.yaml").write_text("changed\n")
    (cloud.repository / "new.yaml").write_text("untracked\n")
    done = cloud.run("launch.sh", "configs/demo.yaml", "--allow-dirty")
    assert "untracked files stay here: new.yaml" in done.stderr
    assert (cloud.home() / "jaxreason" / "configs" / "demo.yaml").read_text() == "changed\n"
    assert cloud.git("status", "--porcelain") == "M configs/demo.yaml\n?? new.yaml"  # nothing stashed away
    assert cloud.git("for-each-ref", "refs/jaxreason") == ""


def test_launch_asks_for_setup_where_packages_changed(cloud):
    """New code under old packages fails in the first import at best."""
    cloud.ready()
    (cloud.repository / "requirements.lock").write_text("jax==9\n")
    cloud.commit()
    assert "give tpu/setup.sh" in cloud.run("launch.sh", "configs/demo.yaml", code=1, SSH_TRIES="1").stderr


def test_nothing_is_changed_under_a_run(cloud):
    """Pushing another commit, or packages, under running processes breaks them later and strangely."""
    cloud.ready()
    cloud.behave("wait")
    cloud.run("launch.sh", "configs/demo.yaml")
    for script, words in (("launch.sh", ["configs/demo.yaml", "--run.seed=1"]), ("setup.sh", [])):
        assert "is busy" in cloud.run(script, *words, code=2).stderr
    assert cloud.run("status.sh").stdout.splitlines()[-1] == "worker: running demo"


def test_a_launch_that_is_repeated_by_a_retry_starts_one_run(cloud):
    """gcloud may fail after the worker has begun: the same words again must not begin a second run."""
    cloud.ready()
    cloud.behave("wait")
    cloud.run("launch.sh", "configs/demo.yaml")
    again = json.loads((cloud.fake / "calls.jsonl").read_text().splitlines()[-1])
    environment = cloud.environment
    done = subprocess.run([cloud.fake / "bin" / "gcloud", *again], env=environment, capture_output=True, text=True)
    assert done.returncode == 0
    assert "already" in done.stdout
    cloud.until(lambda: len(cloud.argv()) == 1, "one start")


def test_stop_saves_and_launch_goes_on(cloud):
    cloud.ready()
    cloud.behave("wait")
    cloud.run("launch.sh", "configs/demo.yaml")
    cloud.until(lambda: (cloud.home() / "runs/demo/checkpoints/step").read_text() >= "2", "two steps")
    assert "ended with exit 143" in cloud.run("stop.sh").stdout
    assert cloud.run("status.sh").stdout.splitlines()[-1] == "worker: exit 143 demo (stopped)"
    assert "runs nothing" in cloud.run("stop.sh").stdout
    cloud.behave("finish")
    cloud.run("launch.sh", "configs/demo.yaml")
    cloud.ended()
    log = cloud.run("logs.sh", "--no-follow").stdout
    begins = [int(line.split()[-1]) for line in log.splitlines() if line.startswith("begin at step")]
    assert begins[0] == 0
    assert begins[1] >= 2


def test_logs_of_all_workers_are_told_apart_and_absent_ones_are_said(cloud):
    cloud.ready()
    assert "no log yet" in cloud.run("logs.sh", "--no-follow", code=2).stderr
    cloud.run("launch.sh", "configs/demo.yaml")
    cloud.ended()
    plain = cloud.run("logs.sh", "--no-follow", "--lines", "1").stdout.strip()
    assert plain == "jaxreason: exit 0"
    assert cloud.run("logs.sh", "--no-follow", "--lines=1", "--worker=all").stdout.strip().endswith(f": {plain}")
    assert "--worker: expected a number or all, got x" in cloud.run("logs.sh", "--worker", "x", code=2).stderr


def test_delete_asks_first(cloud):
    cloud.run("create.sh")
    cloud.forget()
    assert "nothing deleted" in cloud.run("delete.sh", code=2).stderr
    assert cloud.calls() == []
    cloud.run("delete.sh", "--yes")
    assert "--force" in cloud.calls()[-1]
    assert not cloud.home().exists()


def test_several_workers_need_a_folder_that_all_see(cloud):
    """Each worker writes its part of a checkpoint; on disks of their own no part finds the others."""
    cloud.settings["ACCELERATOR_TYPE"] = "v5litepod-16"
    cloud.scenario(workers=4)
    cloud.ready()
    assert "SHARED=yes" in cloud.run("launch.sh", "configs/demo.yaml", code=2).stderr
    cloud.settings |= {"SHARED": "yes", "RUNS_DIR": str(cloud.folder / "shared")}
    cloud.run("launch.sh", "configs/demo.yaml")
    for worker in range(4):
        cloud.ended(worker)
    assert len({json.dumps(cloud.argv(worker)) for worker in range(4)}) == 1  # the same words on all
    assert (cloud.folder / "shared" / "demo" / "results.json").exists()
    assert not (cloud.fake / "bucket").exists()


def test_a_bucket_that_cannot_be_read_is_not_taken_for_an_empty_one(cloud):
    """Taken for empty, the run would begin anew and its copies replace the checkpoints that were there."""
    cloud.ready()
    cloud.scenario(bucket_error="HTTPError 403: does not have storage.objects.list access")
    done = cloud.run("launch.sh", "configs/demo.yaml", code=1, SSH_TRIES="1")
    assert "cannot read gs://bucket" in done.stderr
    assert "403" in done.stderr
    assert not (cloud.home() / "argv").exists()


@pytest.mark.parametrize(
    "script", ["create.sh", "setup.sh", "launch.sh", "logs.sh", "status.sh", "stop.sh", "delete.sh"]
)
def test_a_dry_run_prints_the_calls_of_the_real_one_and_makes_none(cloud, script):
    if script != "create.sh":
        cloud.ready()
    words = {"launch.sh": ["configs/demo.yaml", "--data.train=a 'b' $c"], "delete.sh": ["--yes"]}.get(script, [])
    if script in ("logs.sh", "stop.sh"):
        cloud.run("launch.sh", "configs/demo.yaml")
        cloud.ended()
        cloud.forget()
        words = ["--no-follow"] if script == "logs.sh" else []
    dry = printed(cloud.run(script, *words, "--dry-run"))
    assert cloud.calls() == []
    cloud.run(script, *words)
    assert dry == cloud.calls()

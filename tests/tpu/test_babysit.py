"""tpu/babysit.sh through what happens to a run: taken away, crashed, stopped, mistaken."""

import os
import signal

import pytest

from tests.tpu.test_scripts import printed

pytestmark = pytest.mark.slow


def test_from_nothing_to_finished(cloud):
    done = cloud.run("babysit.sh", "configs/demo.yaml", "--run.seed=3")
    assert "demo is finished: gs://bucket/runs/demo" in done.stderr
    assert (cloud.fake / "bucket/bucket/runs/demo/results.json").exists()
    assert cloud.argv()[0][-1] == "--run.seed=3"
    # Again: it sees that nothing is to be done.
    cloud.forget()
    cloud.run("babysit.sh", "configs/demo.yaml", "--run.seed=3")
    assert len(cloud.argv()) == 1
    assert not [call for call in cloud.calls() if call[3] in ("create", "scp")]


def test_a_dry_run_prints_the_calls_of_a_fresh_start(cloud):
    dry = printed(cloud.run("babysit.sh", "configs/demo.yaml", "--dry-run"))
    assert cloud.calls() == []
    cloud.run("babysit.sh", "configs/demo.yaml")
    kinds = [call for i, call in enumerate(cloud.calls()) if call not in cloud.calls()[:i]]
    assert [call for i, call in enumerate(dry) if call not in dry[:i]] == kinds


@pytest.mark.parametrize("state", ["SUSPENDED", "ACTIVE"])
def test_a_slice_that_is_taken_away_is_replaced_and_the_run_goes_on(cloud, state):
    """The point of it all: the new slice starts from the checkpoint in the bucket, not from step 0.

    The queued resource may still be ACTIVE when its node is gone, and is when it was asked just before.
    """
    cloud.behave("wait")
    process = cloud.start("babysit.sh", "configs/demo.yaml")
    copied = cloud.fake / "bucket/bucket/runs/demo/checkpoints/step"
    cloud.until(lambda: int(copied.read_text()) >= 3, "a copied checkpoint")
    cloud.taken_away(state)
    cloud.until(lambda: (cloud.home() / "argv").exists(), "a second launch")
    cloud.behave("finish")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "the node of try-1 is PREEMPTED" in err or (state == "SUSPENDED" and "try-1 is SUSPENDED" in err)
    assert "making slice number 2" in err
    log = (cloud.home() / "jaxreason-state" / "log").read_text()
    begin = next(line for line in log.splitlines() if line.startswith("begin at step"))
    assert int(begin.split()[-1]) >= 3
    assert [call[3] for call in cloud.calls() if call[2] == "queued-resources" and call[3] != "describe"] == [
        "create",
        "delete",
        "create",
    ]


def test_a_run_that_crashes_is_tried_again_a_bounded_number_of_times(cloud):
    cloud.behave("crash")
    done = cloud.run("babysit.sh", "configs/demo.yaml", code=1, MAX_FAILURES="3")
    assert "failure 3 in a row, giving up" in done.stderr
    assert "cost money" in done.stderr
    assert len(cloud.argv()) == 3


def test_a_mistake_in_the_configuration_is_not_tried_again(cloud):
    cloud.behave("mistake")
    done = cloud.run("babysit.sh", "configs/demo.yaml", code=2)
    assert "grpo.bata: no such field" in done.stderr + done.stdout
    assert len(cloud.argv()) == 1


def test_a_run_that_was_stopped_on_purpose_stays_stopped(cloud):
    """A babysitter that starts again what its user stops."""
    cloud.behave("wait")
    process = cloud.start("babysit.sh", "configs/demo.yaml")
    cloud.until((cloud.home() / "runs/demo/checkpoints/step").exists, "a step")
    cloud.run("stop.sh")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 3
    assert "stopped by tpu/stop.sh" in err


def test_hosts_out_of_step_are_all_started_anew(cloud):
    """One of two workers crashed: the other waits in a collective for ever, and must be ended first."""
    cloud.settings |= {"ACCELERATOR_TYPE": "v5p-16", "SHARED": "yes", "RUNS_DIR": str(cloud.folder / "shared")}
    cloud.scenario(workers=2)
    cloud.behave("wait")
    process = cloud.start("babysit.sh", "configs/demo.yaml")
    pid = cloud.home(1) / "jaxreason-state" / "train.pid"
    # Its own line too: a trainer that is killed before it wrote one has never been called, as far as argv knows.
    cloud.until(lambda: pid.exists() and len(cloud.argv(0)) == len(cloud.argv(1)) == 1, "both to run")
    os.kill(int(pid.read_text()), signal.SIGKILL)
    cloud.until(lambda: len(cloud.argv(0)) == len(cloud.argv(1)) == 2, "both to run again")
    cloud.behave("finish")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "does not run on all workers" in err


def test_another_run_on_the_slice_is_left_alone(cloud):
    cloud.ready()
    cloud.behave("wait")
    cloud.run("launch.sh", "configs/demo.yaml", "--name", "other")
    assert "busy with another run" in cloud.run("babysit.sh", "configs/demo.yaml", code=2).stderr
    assert len(cloud.argv()) == 1

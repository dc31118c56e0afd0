"""Checkpoints: what was saved comes back, on any sharding, and damage is seen."""

import functools
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import warnings

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxreason.run import checkpoint
from jaxreason.types import TrainState


def _mesh(replica, fsdp):
    return jax.make_mesh((replica, fsdp), ("replica", "fsdp"), axis_types=(jax.sharding.AxisType.Auto,) * 2)


def _put(state, mesh):
    """Split the last axis of what divides over fsdp, copy the rest."""
    return jax.tree.map(lambda x: jax.device_put(x, _sharding(x, mesh)), state)


def _sharding(x, mesh):
    split = x.ndim and x.shape[-1] % mesh.shape["fsdp"] == 0
    spec = jax.sharding.PartitionSpec(*[None] * (x.ndim - 1), "fsdp") if split else jax.sharding.PartitionSpec()
    return jax.sharding.NamedSharding(mesh, spec)


def _abstract(state, mesh):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=_sharding(x, mesh)), state)


def _state(seed=0, width=16):
    key = jax.random.key(seed)
    params = {
        "layers": {"kernel": jax.random.normal(key, (2, width, width))},
        "norm": jnp.ones(width, jnp.bfloat16),
        "odd": jnp.arange(3.0),
    }
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))
    return TrainState(step=jnp.int32(seed), params=params, opt_state=optimizer.init(params))


def test_what_was_saved_comes_back_bit_for_bit_with_its_types_and_its_meta(tmp_path):
    state, meta = _state(3), {"next_index": 48, "monitor": {"entropy": [1.5, None]}, "alpha": 0.1}
    with checkpoint.open_checkpoints(tmp_path, keep=2) as checkpoints:
        checkpoints.save(3, state, meta)
        back, back_meta, step = checkpoints.restore(None, _abstract(state, _mesh(1, 1)))
    assert step == 3
    assert back_meta == meta
    assert isinstance(back, TrainState)
    chex.assert_trees_all_equal(back, state)
    chex.assert_trees_all_equal_shapes_and_dtypes(back, state)


@pytest.mark.parametrize("shape", [(1, 8), (4, 2), (8, 1)])
def test_restores_onto_another_sharding(tmp_path, shape):
    state = _put(_state(), _mesh(2, 4))
    with checkpoint.open_checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(1, state, {})
        asked = _abstract(state, _mesh(*shape))
        back, _, _ = checkpoints.restore(1, asked)
    chex.assert_trees_all_equal(jax.device_get(back), jax.device_get(state))
    for leaf, abstract in zip(jax.tree.leaves(back), jax.tree.leaves(asked), strict=True):
        assert leaf.sharding.is_equivalent_to(abstract.sharding, leaf.ndim)


def test_arrays_may_be_donated_as_soon_as_save_returns(tmp_path):
    """On CPU a host copy can be a view of the device's buffer; an update in place would then reach the disk."""
    big = jnp.arange(4 * 1024 * 1024, dtype=jnp.float32)
    expected = np.array(big)
    overwrite = functools.partial(jax.jit, donate_argnums=0)(lambda x: x * 0 - 1)
    with checkpoint.open_checkpoints(tmp_path, keep=1) as checkpoints:
        asked = {"w": jax.ShapeDtypeStruct(big.shape, big.dtype, sharding=big.sharding)}
        checkpoints.save(1, {"w": big}, {})
        for _ in range(3):
            big = overwrite(big)
        back, _, _ = checkpoints.restore(1, asked)
    np.testing.assert_array_equal(back["w"], expected)


def test_keeps_the_newest(tmp_path):
    with checkpoint.open_checkpoints(tmp_path, keep=2) as checkpoints:
        for step in (10, 20, 30):
            checkpoints.save(step, _state(step), {})
        checkpoints.wait()
        assert checkpoints.steps() == [20, 30]
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.isdigit()) == ["20", "30"]


def test_saving_after_going_back_replaces_the_course_that_was_left(tmp_path):
    """Else the newest by number would be the old course, and keeping the newest would delete the new one."""
    with checkpoint.open_checkpoints(tmp_path, keep=2) as checkpoints:
        for step in (10, 20, 30):
            checkpoints.save(step, _state(step), {"course": "old"})
        checkpoints.save(20, _state(99), {"course": "new"})
        back, meta, step = checkpoints.restore(None, _abstract(_state(), _mesh(1, 1)))
    assert (step, meta, int(back.step)) == (20, {"course": "new"}, 99)


def _files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    with checkpoint.open_checkpoints(folder, keep=3) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, _state(step), {"step": step})
    return folder


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # tensorstore's reads beside the bad one
@pytest.mark.parametrize("damage", ["truncated", "emptied", "removed", "flipped"])
def test_a_damaged_checkpoint_is_never_returned_as_if_it_were_whole(saved, tmp_path, damage):
    """For each file in turn: either the numbers are right all the same, or the one before it is used."""
    asked = _abstract(_state(), _mesh(1, 1))
    fell_back = 0
    for file in _files(saved / "2"):
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(saved, copy)
        target = copy / file.relative_to(saved)
        content = target.read_bytes()
        if damage == "truncated":
            target.write_bytes(content[: len(content) // 2])
        elif damage == "emptied":
            target.write_bytes(b"")
        elif damage == "removed":
            target.unlink()
        elif content:
            middle = len(content) // 2
            target.write_bytes(content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :])
        with _recorded() as warned, checkpoint.open_checkpoints(copy, None) as reader:
            back, meta, step = reader.restore(None, asked)
        chex.assert_trees_all_equal(back, _state(step))
        assert meta == {"step": step}
        if step == 1:
            fell_back += 1
            assert any("checkpoint 2 is damaged" in str(w.message) for w in warned) or not (copy / "2").exists()
    assert fell_back >= 3


def _recorded():
    return warnings.catch_warnings(record=True, action="always")


@pytest.mark.parametrize("kind", ["empty folder", "garbage", "half a save", "a file"])
def test_what_is_no_checkpoint_does_not_stop_a_restart(saved, tmp_path, kind):
    """The one before it is used, and a save of that step takes its place."""
    copy = tmp_path / "copy"
    shutil.copytree(saved, copy)
    if kind == "a file":
        (copy / "3").write_bytes(b"x")
    else:
        (copy / ("3.orbax-checkpoint-tmp" if kind == "half a save" else "3")).mkdir()
        if kind != "empty folder":
            next(copy.glob("3*")).joinpath("_CHECKPOINT_METADATA").write_bytes(b"\x00garbage")
    asked = _abstract(_state(), _mesh(1, 1))
    with _recorded() as warned, checkpoint.open_checkpoints(copy, keep=3) as checkpoints:
        back, _, step = checkpoints.restore(None, asked)
        assert step == 2
        chex.assert_trees_all_equal(back, _state(2))
        assert checkpoints.latest_step() == 2
        if kind != "a file":
            checkpoints.save(3, _state(3), {})
            assert checkpoints.restore(None, asked)[2] == 3
    if kind in ("empty folder", "garbage"):
        assert any("checkpoint 3 is damaged" in str(w.message) for w in warned)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_when_all_are_damaged_the_error_names_each(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "copy")
    for step in ("1", "2"):
        (tmp_path / "copy" / step / "_CHECKPOINT_METADATA").write_text("{")
    with (
        checkpoint.open_checkpoints(tmp_path / "copy", None) as reader,
        _recorded(),
        pytest.raises(ValueError, match=r"checkpoint 2 is damaged.*checkpoint 1 is damaged"),
    ):
        reader.restore(None, _abstract(_state(), _mesh(1, 1)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: _state(width=32), r"params/layers/kernel is float32\[2, 16, 16\], expected float32\[2, 32, 32\]"),
        (lambda s: s.params, r"has no array layers/kernel"),
        (
            lambda s: TrainState(step=s.step, params=s.params | {"norm": jnp.ones(16)}, opt_state=s.opt_state),
            r"params/norm is bfloat16\[16\], expected float32\[16\]",
        ),
        (
            lambda s: TrainState(step=s.step, params={"odd": s.params["odd"]}, opt_state=s.opt_state),
            r"holds an array params/",
        ),
    ],
)
def test_another_model_is_an_error_and_not_damage(saved, change, message):
    """Passing over every checkpoint of a misconfigured run would silently start it anew."""
    with checkpoint.open_checkpoints(saved, None) as reader, pytest.raises(ValueError, match=message):
        reader.restore(None, _abstract(change(_state()), _mesh(1, 1)))


def test_errors_of_use_name_the_folder_and_the_steps_there_are(saved, tmp_path):
    asked = _abstract(_state(), _mesh(1, 1))
    with checkpoint.open_checkpoints(saved, None) as reader:
        assert reader.latest_step() == 2
        with pytest.raises(ValueError, match="no checkpoint of step 7; there are 1, 2"):
            reader.restore(7, asked)
        with pytest.raises(ValueError, match="opened for reading"):
            reader.save(3, _state(), {})
    with checkpoint.open_checkpoints(tmp_path / "new", 1) as checkpoints:
        assert checkpoints.latest_step() is None
        with pytest.raises(ValueError, match="expected a checkpoint, found none"):
            checkpoints.restore(None, asked)
        with pytest.raises(ValueError, match="without NaN"):
            checkpoints.save(1, _state(), {"loss": float("nan")})
    with pytest.raises(ValueError, match="no such folder"):
        checkpoint.open_checkpoints(tmp_path / "nowhere", None)
    with pytest.raises(ValueError, match="at least 1"):
        checkpoint.open_checkpoints(tmp_path / "new", 0)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"file/checkpoints: cannot write checkpoints there"):
        checkpoint.open_checkpoints(tmp_path / "file" / "checkpoints", 1)


_SAVER = """
    import os, resource, sys, time
    os.environ.update(JAX_PLATFORMS="cpu")
    import jax
    from jaxreason.run import checkpoint
    noise = jax.random.uniform(jax.random.key(0), (300_000,))  # incompressible
    folder, mode = sys.argv[1:]
    checkpoints = checkpoint.open_checkpoints(folder, keep=2)
    if mode == "while":
        for step in range(1, 7):
            full = 3 <= step <= 4
            checkpoints.wait() if step == 3 else None
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000 if full else -1, -1))
            print(step, checkpoints.try_save(step, {"w": noise / 2 + step}, {"step": step}), flush=True)
            time.sleep(0.5)
        checkpoints.close()
        sys.exit(0)
    if mode == "full":
        # Orbax's patience with the thread of a save that failed, in seconds, for five minutes.
        from orbax.checkpoint._src.multihost import multihost as v0
        from orbax.checkpoint.experimental.v1._src.synchronization import multihost as v1
        assert v0.coordination_timeout() == v1.coordination_timeout() == 300
        v0._DEFAULT_BARRIER_TIMEOUT = v1._DEFAULT_BARRIER_TIMEOUT = 10
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        for step in range(1, 20):
            checkpoints.try_save(step, {"w": noise / 2 + step}, {"step": step})
            print(step, flush=True)
    if mode == "full at once":
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    for step in range(1, 10 if mode == "full at once" else 1000):
        checkpoints.save(step, {"w": noise / 2 + step}, {"step": step})
        print(step, flush=True)
    checkpoints.close()
"""


def test_a_full_disk_is_an_error_and_not_a_lost_checkpoint(tmp_path):
    """The write runs in the background; were its error dropped, a run would end without anything to resume from."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_SAVER), str(tmp_path), "full at once"], capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "could not be written" in done.stderr
    assert len(done.stdout.split()) <= 2


def test_saves_that_fail_for_a_while_leave_what_was_saved_and_are_tried_again(tmp_path):
    """A Checkpointer whose save failed fails for good, and what it left half-written keeps the disk full."""
    command = [sys.executable, "-c", textwrap.dedent(_SAVER), str(tmp_path), "while"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert [step for step, problem in said.items() if problem == "None"] == ["1", "2", "3", "6"], said
    for step in ("4", "5"):
        assert "could not be written" in said[step]
        assert "checkpoint 2 stands" in said[step]
    with checkpoint.open_checkpoints(tmp_path, None) as reader:
        assert reader.steps() == [5, 6]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["5", "6"]


@pytest.mark.slow
def test_after_five_failed_saves_in_a_row_the_run_ends(tmp_path):
    """Now and then Orbax waits to the end of its patience for the thread of a save that failed; the run ends all the
    same."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_SAVER), str(tmp_path), "full"], capture_output=True, text=True
    )
    assert done.stdout.split() == ["1", "2", "3", "4", "5"]
    assert "5 saves in a row; there is no checkpoint" in done.stderr


def test_kill_in_mid_save_leaves_the_checkpoint_before_it(tmp_path):
    """Whenever the kill comes, what is listed is whole, and what is left over is cleared."""
    asked = {"w": jax.ShapeDtypeStruct((300_000,), jnp.float32, sharding=_sharding(jnp.zeros(3), _mesh(1, 1)))}
    for delay in (0.0, 0.013, 0.029):
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(_SAVER), str(tmp_path), "kill"], stdout=subprocess.PIPE, text=True
        ) as saver:
            seen = 0
            while seen < 4:
                seen = int(saver.stdout.readline())
            time.sleep(delay)
            os.kill(saver.pid, signal.SIGKILL)
        with checkpoint.open_checkpoints(tmp_path, keep=2) as checkpoints:
            back, meta, step = checkpoints.restore(None, asked)
            assert step >= seen - 1
            assert meta == {"step": step}
            assert (np.asarray(back["w"]) // 1 == step).all()
            checkpoints.save(step + 1, back, {})
        assert not [path.name for path in tmp_path.iterdir() if not path.name.isdigit()]


@chex.dataclass
class _Older:
    step: jax.Array
    budget: jax.Array | None = None


@chex.dataclass
class _Younger:
    step: jax.Array
    budget: jax.Array | None = None
    lift: jax.Array | None = None


@pytest.mark.parametrize("lift", [None, jax.ShapeDtypeStruct((), jnp.float32)])
def test_a_checkpoint_from_before_the_state_had_a_field_still_opens(tmp_path, lift):
    """Catches a field that may be None taken for damage, or for another model's, in runs that were made without it."""
    one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    step = jax.ShapeDtypeStruct((), jnp.int32, sharding=one)
    with checkpoint.open_checkpoints(tmp_path, keep=2) as checkpoints:
        checkpoints.save(3, _Older(step=jnp.int32(7)), {})
        back, _, _ = checkpoints.restore(None, _Younger(step=step, lift=lift))
    assert isinstance(back, _Younger)
    assert (int(back.step), back.budget, back.lift) == (7, None, None)

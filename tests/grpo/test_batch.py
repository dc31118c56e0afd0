"""Packing: nothing lost, nothing doubled, everything at its place, one shape."""

import time

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.grpo import batch
from jaxreason.types import HostRollout, PromptBatch


def random_items(seed, count=20, longest=12, *, candidates=0, ref=False):
    rng = np.random.default_rng(seed)
    result = []
    for _ in range(count):
        prompt, t = rng.integers(1, 6), int(rng.integers(1, longest - 5))
        result.append(
            batch.PackItem(
                prompt=rng.integers(1, 99, size=prompt),
                completion=rng.integers(1, 99, size=t),
                old_logp=-rng.random(t).astype(np.float32),
                weight=rng.random(t).astype(np.float32) + 0.01,
                advantage=rng.normal(size=t).astype(np.float32),
                role=int(rng.integers(3)),
                candidates=rng.integers(0, 99, size=(t, candidates)) if candidates and rng.random() < 0.5 else None,
                ref_logp=-rng.random(t).astype(np.float32) if ref else None,
            )
        )
    return result


def unpack(packed):
    """Every sequence of a batch as plain lists, read back by its segment."""
    flat = {
        name: np.asarray(getattr(packed, name)).reshape(-1, packed.tokens.shape[-1])
        for name in ("tokens", "positions", "segments", "role", "weight", "advantage", "old_logp")
    }
    found = []
    for row in range(len(flat["tokens"])):
        for segment in range(1, flat["segments"][row].max() + 1):
            at = np.flatnonzero(flat["segments"][row] == segment)
            assert np.array_equal(at, np.arange(at[0], at[-1] + 1))
            found.append({name: x[row, at].tolist() for name, x in flat.items()})
    return found


def test_by_hand():
    """Catches a shift by one: the entry of the first completion token stands at that token, not before it."""
    item = batch.PackItem(
        prompt=np.array([7, 8]),
        completion=np.array([9, 5]),
        old_logp=np.array([-1.0, -2.0]),
        weight=np.array([0.5, 0.25]),
        advantage=np.array([3.0, 4.0]),
        role=2,
        candidates=np.array([[9, 1], [5, -1]]),
    )
    got = batch.pack([item, item], batch.Shape(max_micro=2, micro_batch_rows=1, row_length=9), num_candidates=3)
    assert got.tokens[0, 0].tolist() == [7, 8, 9, 5, 7, 8, 9, 5, 0]
    assert got.positions[0, 0].tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0]
    assert got.segments[0, 0].tolist() == [1, 1, 1, 1, 2, 2, 2, 2, 0]
    assert got.role[0, 0].tolist() == [2] * 8 + [0]
    assert got.weight[0, 0].tolist() == [0, 0, 0.5, 0.25, 0, 0, 0.5, 0.25, 0]
    assert got.advantage[0, 0].tolist() == [0, 0, 3, 4, 0, 0, 3, 4, 0]
    assert got.old_logp[0, 0].tolist() == [0, 0, -1, -2, 0, 0, -1, -2, 0]
    assert got.candidates[0, 0, 2:4].tolist() == [[9, 1, -1], [5, -1, -1]]
    assert (got.candidates[0, 0, [0, 1, 8]] == -1).all()
    assert got.ref_logp is None
    assert int(got.num_micro) == 1
    assert got.segments[1].max() == 0


@given(seed=st.integers(0, 2**31), count=st.integers(0, 40))
def test_every_sequence_comes_back_once(seed, count):
    """Catches overlapping placement, a lost sequence, and a bound on the rows that is too low."""
    items = random_items(seed, count)
    max_micro = batch.max_micro_batches([(max(count, 1), 12)], row_length=16, micro_batch_rows=3)
    got = batch.pack(items, batch.Shape(max_micro=max_micro, micro_batch_rows=3, row_length=16))
    expected = [
        {
            "tokens": [*q.prompt.tolist(), *q.completion.tolist()],
            "positions": list(range(len(q))),
            "role": [q.role] * len(q),
            "weight": [0.0] * len(q.prompt) + q.weight.tolist(),
            "advantage": [0.0] * len(q.prompt) + q.advantage.tolist(),
            "old_logp": [0.0] * len(q.prompt) + q.old_logp.tolist(),
        }
        for q in items
    ]
    found = unpack(got)
    for sequence in found:
        del sequence["segments"]
    assert sorted(map(str, expected)) == sorted(map(str, [{k: f[k] for k in expected[0]} for f in found]))
    assert got.tokens.shape == (max_micro, 3, 16)
    rows = int((got.segments.reshape(-1, 16).max(1) > 0).sum())
    assert int(got.num_micro) == -(-rows // 3)


@given(seed=st.integers(0, 2**31))
def test_the_bound_holds_for_full_lengths(seed):
    """Catches a bound taken from averages: sequences at their limits waste the most of a row."""
    rng = np.random.default_rng(seed)
    row_length = int(rng.integers(20, 60))
    limits = [(int(rng.integers(1, 40)), int(rng.integers(2, row_length + 1))) for _ in range(3)]
    lengths = [length for count, length in limits for _ in range(count)]
    rows = 1 + max(row for row, _, _ in batch._first_fit(lengths, row_length))
    assert rows <= batch.max_micro_batches(limits, row_length=row_length, micro_batch_rows=1)


def test_shapes_do_not_depend_on_the_sequences():
    """Catches a second compilation in a step without helpers: with nothing, something, or no candidates among it."""
    shape = batch.Shape(max_micro=6, micro_batch_rows=4, row_length=16)
    batches = [
        batch.pack(random_items(s, n, candidates=c, ref=True), shape, num_candidates=2, with_ref=True)
        for s, n, c in [(0, 0, 0), (1, 9, 2), (2, 20, 0)]
    ]
    shapes = [jax.tree.map(lambda x: (x.shape, x.dtype), b) for b in batches]
    assert shapes[0] == shapes[1] == shapes[2]
    assert int(batches[0].num_micro) == 0


@given(seed=st.integers(0, 2**31))
def test_unpack_undoes_pack(seed):
    """Catches values handed to another sequence once one without weight was left out."""
    items = random_items(seed)
    items[4].weight[:] = 0
    packed = batch.pack(items, batch.Shape(max_micro=6, micro_batch_rows=4, row_length=16))
    for item, found in zip(items, batch.unpack(items, packed.old_logp), strict=True):
        assert (found is None) if item is items[4] else np.array_equal(found, item.old_logp)


def test_sequences_without_weight_are_left_out():
    """Catches rows spent on completions that cannot teach anything."""
    items = random_items(3, 4)
    idle = batch.PackItem(
        prompt=np.array([1]),
        completion=np.array([2]),
        old_logp=np.zeros(1),
        weight=np.zeros(1),
        advantage=np.ones(1),
        role=0,
    )
    shape = batch.Shape(max_micro=2, micro_batch_rows=4, row_length=16)
    with_idle, without = batch.pack([idle, *items], shape), batch.pack(items, shape)
    assert all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (with_idle, without)), strict=True))


def test_items_from_rollouts():
    """Catches prompts read with their left padding, completions with their right, and prompts given to other groups."""
    tokens = np.arange(2 * 2 * 3).reshape(2, 2, 3)
    rollout = HostRollout(
        tokens=tokens, length=np.array([[3, 1], [2, 0]]), logp=-tokens / 10.0, finished=np.ones((2, 2), bool)
    )
    prompts = PromptBatch(tokens=np.array([[0, 70, 71], [80, 81, 82]]), length=np.array([2, 3]))
    got = batch.items(prompts, rollout, weight_PGT=tokens + 1.0, advantage_PGT=tokens * 2.0, role=1)
    assert [q.prompt.tolist() for q in got] == [[70, 71], [70, 71], [80, 81, 82], [80, 81, 82]]
    assert [q.completion.tolist() for q in got] == [[0, 1, 2], [3], [6, 7], []]
    assert got[2].advantage.tolist() == [12.0, 14.0]
    four = PromptBatch(tokens=np.array([[1], [2], [3], [4]]), length=np.ones(4, int))
    own = batch.items(four, rollout, weight_PGT=tokens, advantage_PGT=tokens, role=0)
    assert [q.prompt.tolist() for q in own] == [[1], [2], [3], [4]]
    with pytest.raises(ValueError, match="prompts: expected a divisor of the 4 rollouts, got 3"):
        batch.items(
            PromptBatch(tokens=np.ones((3, 1), int), length=np.ones(3, int)),
            rollout,
            weight_PGT=tokens,
            advantage_PGT=tokens,
            role=0,
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"row_length": 5}, "grpo.row_length: expected at least"),
        ({"max_micro": 1, "micro_batch_rows": 1}, "shape: expected room for"),
        ({"with_ref": True}, "PackItem.ref_logp: expected"),
        ({"num_candidates": 1}, "num_candidates: expected at least 2"),
    ],
)
def test_errors_name_the_field(changes, message):
    """Catches sequences cut or dropped without a word."""
    options = {"num_candidates": 2} | {k: v for k, v in changes.items() if k in ("with_ref", "num_candidates")}
    sizes = {"row_length": 16, "micro_batch_rows": 4, "max_micro": 6}
    shape = batch.Shape(**sizes | {k: v for k, v in changes.items() if k in sizes})
    with pytest.raises(ValueError, match=message):
        batch.pack(random_items(0, candidates=2), shape, **options)


def test_an_empty_prompt_is_refused():
    """Catches a completion whose first token has nothing to be predicted from."""
    item = batch.PackItem(
        prompt=np.array([], int),
        completion=np.array([1]),
        old_logp=np.zeros(1),
        weight=np.ones(1),
        advantage=np.ones(1),
        role=0,
    )
    with pytest.raises(ValueError, match=r"PackItem\.prompt: expected at least one token"):
        batch.pack([item], batch.Shape(max_micro=1, micro_batch_rows=1, row_length=4))


def test_mini_batches():
    """Catches problems left out or seen twice in a step, and shares of different sizes."""
    assert batch.mini_batches(6, 3) == [slice(0, 2), slice(2, 4), slice(4, 6)]
    with pytest.raises(ValueError, match=r"grpo\.num_mini_batches: expected a divisor"):
        batch.mini_batches(6, 4)


def test_packing_is_quick():
    """Catches quadratic Python in the packing: 500 sequences take milliseconds, not the better part of a step."""
    items = random_items(0, 500, longest=120)
    start = time.perf_counter()
    batch.pack(items, batch.Shape(max_micro=16, micro_batch_rows=32, row_length=256))
    assert time.perf_counter() - start < 0.5

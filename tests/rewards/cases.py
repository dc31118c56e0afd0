"""Random steps for the reward tests: responses with splits and scores, some cut, some with failed helpers."""

import jax.numpy as jnp
import numpy as np

from jaxreason.types import Chunks, Scores


def random_case(seed: int, *, problems=3, rollouts=4, num_chunks=5, tokens=40) -> dict[str, np.ndarray]:
    """A step in NumPy: every array by name."""
    rng = np.random.default_rng(seed)
    shape = (problems, rollouts)
    y = rng.integers(num_chunks, tokens - 4, size=shape)
    length = np.minimum(y + rng.integers(1, 5, size=shape), tokens)
    finished = rng.random(shape) < 0.8
    segment_valid = finished & (rng.random(shape) < 0.8)
    score_valid = segment_valid & (rng.random(shape) < 0.8)
    chunk_length = np.zeros((*shape, num_chunks), np.int32)
    chunk_id = np.full((*shape, tokens), num_chunks, np.int32)
    scores = np.zeros((*shape, num_chunks), np.int32)
    for i in np.ndindex(*shape):
        if segment_valid[i]:
            n = int(rng.integers(1, num_chunks + 1))
            cuts = np.sort(rng.choice(np.arange(1, y[i]), size=n - 1, replace=False))
            chunk_length[i][:n] = np.diff([0, *cuts, y[i]])
            chunk_id[i][: y[i]] = np.repeat(np.arange(n), chunk_length[i][:n])
            if score_valid[i]:
                scores[i][:n] = rng.integers(1, 6, size=n)
    measured = (chunk_length > 0) & (np.arange(problems) < problems - 1)[:, None, None]
    return {
        "correct": rng.random(shape) < 0.6,
        "gradable": rng.random(shape) < 0.9,
        "y": y.astype(np.int32),
        "length": length.astype(np.int32),
        "finished": finished,
        "segment_valid": segment_valid,
        "score_valid": score_valid,
        "chunk_length": chunk_length,
        "chunk_id": chunk_id,
        "characters": (chunk_length * rng.integers(2, 6, size=chunk_length.shape)).astype(np.int32),
        "scores": scores,
        "frozen": np.where(chunk_length > 0, rng.uniform(1, 5, size=chunk_length.shape), 0).astype(np.float32),
        "contribution": np.where(measured, rng.exponential(5, chunk_length.shape), -1).astype(np.float32),
    }


def chunks_of(case) -> Chunks:
    return Chunks(
        chunk_id=jnp.asarray(case["chunk_id"]),
        length=jnp.asarray(case["chunk_length"]),
        characters=jnp.asarray(case["characters"]),
        mask=jnp.asarray(case["chunk_length"] > 0),
        valid=jnp.asarray(case["segment_valid"]),
    )


def scores_of(case) -> Scores:
    return Scores(value=jnp.asarray(case["scores"]), valid=jnp.asarray(case["score_valid"]))

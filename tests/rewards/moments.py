"""Random steps for the tests of length methods, as NumPy by name and as `Completions`."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxreason.rewards.length import Completions, Moment

LIMIT = 40


def random_step(seed: int, *, problems: int = 3, rollouts: int = 6) -> dict[str, Any]:
    """Every array by name; a few rows are left out, a few problems all right or all wrong."""
    rng = np.random.default_rng(seed)
    shape = (problems, rollouts)
    length = rng.integers(2, LIMIT + 1, size=shape).astype(np.int32)
    finished = length < LIMIT
    y = np.maximum(length - rng.integers(1, 4, size=shape), 0).astype(np.float32)
    covered = np.sort(rng.random((3, 16)).astype(np.float32), axis=1)
    return {
        "right": (rng.random(shape) < rng.choice([0.0, 0.3, 0.6, 1.0], size=(problems, 1))) & finished,
        "length": length,
        "y": y,
        "finished": finished,
        "keep": rng.random(shape) < 0.9,
        "limit": LIMIT,
        "progress": np.float32(rng.random()),
        "asked": rng.choice([0, 10, 30], size=problems).astype(np.int32),
        "answer_at": (rng.integers(0, 2, size=shape) * rng.integers(0, y.astype(int) + 1)).astype(np.int32),
        "closes_at": np.minimum(y, length - 1).astype(np.int32),
        "prefix_end": rng.integers(-1, 20, size=shape).astype(np.int32),
        "repeats": rng.random(shape) < 0.3,
        "coverage": covered,
        "history": rng.choice([0, 8, 25], size=problems).astype(np.float32),
        "teacher": rng.normal(size=(*shape, LIMIT)).astype(np.float32),
    }


def completions(step: dict[str, Any], *, memory: str = "") -> Completions:
    """The step as a length method sees it; `memory` names the array that the method remembers."""
    a = {name: jnp.asarray(value) for name, value in step.items() if name != "limit"}
    moment = Moment(
        progress=a["progress"], asked=a["asked"], answer_at=a["answer_at"], closes_at=a["closes_at"],
        prefix_end=a["prefix_end"], repeats=a["repeats"], teacher=a["teacher"], memory=a[memory] if memory else None,
    )  # fmt: skip
    return Completions(
        right=a["right"], length=a["length"], length_y=a["y"], charged=a["y"], finished=a["finished"], keep=a["keep"],
        max_length=step["limit"], moment=moment,
    )  # fmt: skip


def memory_of(method) -> str:
    """The name of the array of `random_step` that stands for what a method remembers."""
    from jaxreason.rewards.length_adaptive import COVERAGE, HISTORY

    return {HISTORY: "history", COVERAGE: "coverage"}.get(method.memory, "")


def permuted(step: dict[str, Any], order) -> dict[str, Any]:
    """The same step with the completions of every group in another order."""
    rows = ("right", "length", "y", "finished", "keep", "answer_at", "closes_at", "prefix_end", "repeats", "teacher")
    return {name: value[:, np.array(order)] if name in rows else value for name, value in step.items()}

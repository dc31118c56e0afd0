"""Sampling by refilled slots against fixed batches, and copying a block a pass against a token a pass, side by side.

    taskset -c 0 python -m benchmarks.rollout [--slots 64] [--requests 512] [--mean 56] [--cap 256] [--repeats 5]
    taskset -c 0 python -m benchmarks.rollout --lengths evaluation.jsonl   # measured ones, alone

A policy of 3.3M parameters; prompts are random tokens, and lengths are drawn beforehand and set as limits, so that both
sides make the same tokens. A fixed batch of as many rows as there are slots runs to its longest row. On CPU seconds
are the processor's, so that a machine that others use too gives nearly the same figures; medians of alternating runs.
"""

import argparse
import functools
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.config import ModelConfig, SamplingConfig
from jaxreason.plan.sampling import read_lengths
from jaxreason.policy import api
from jaxreason.sampling import engine
from jaxreason.sampling.engine import generate
from jaxreason.sampling.query import Decoding, Query
from jaxreason.sampling.room import Room, room_for
from jaxreason.types import Constraint, PromptBatch

MODEL = ModelConfig(
    vocab_size=512,
    hidden_size=256,
    intermediate_size=768,
    num_hidden_layers=4,
    num_attention_heads=8,
    num_key_value_heads=4,
    head_dim=32,
)
PROMPT, GROUP = 64, 8
CHUNK = 12
"""Tokens of a chunk of what is copied, on average; what is drawn decides."""

clock = time.process_time if jax.default_backend() == "cpu" else time.perf_counter


def side_by_side(sides: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Median seconds of each, run in turn after a first call that compiles."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(repeats + 1):
        for name, run in sides.items():
            begun = clock()
            run()
            if turn:
                taken[name].append(clock() - begun)
    return {name: statistics.median(found) for name, found in taken.items()}


def passes(params, prompts: PromptBatch, limit_PG: np.ndarray, room: Room, constraint=None, eos: int = -1):
    """(passes, slots that they were computed for, slots that took part, both added up) of a call."""
    key, T = jax.random.key(0), int(limit_PG.max())

    @jax.jit
    def run(params, prompts, limit_PG, constraint):
        how = Decoding(MODEL, T, (eos,), 0, room=room)
        query = Query(prompts=prompts, limit=limit_PG, constraint=constraint)
        requests, _ = engine.arrange(query, key, how)
        begun = engine.begin(requests, how)
        end = engine.advance(api.unstack(params, MODEL), begun, requests, key, jnp.float32(1), how=how)
        return end.passes, end.computed, end.fed

    made, computed, fed = run(params, prompts, limit_PG, constraint)
    return int(made), int(computed), int(fed.sum())


def sampled(params, prompts: PromptBatch, limit_PG: np.ndarray, T: int, room: Room, constraint=None, eos: int = -1):
    """Sample, and wait."""
    query = Query(prompts=prompts, limit=limit_PG, constraint=constraint)
    how = Decoding(MODEL, T, (eos,), 0, room=room)
    rollout = generate(params, query, jax.random.key(0), jnp.float32(1), how)
    jax.block_until_ready(rollout)


def prompts_of(P: int) -> PromptBatch:
    tokens = np.random.default_rng(0).integers(0, MODEL.vocab_size, (P, PROMPT)).astype(np.int32)
    return PromptBatch(tokens=tokens, length=np.full(P, PROMPT, np.int32))


def lengths_of(requests: int, mean: int, cap: int) -> np.ndarray:
    """Geometric lengths cut at a cap, in groups: int32 [P G]."""
    drawn = np.random.default_rng(1).geometric(1 / mean, requests)
    return np.minimum(drawn, cap).astype(np.int32).reshape(-1, GROUP)


def against_batches(params, name: str, limit_PG: np.ndarray, T: int, slots: int, repeats: int) -> None:
    """Print tokens a second of both."""
    prompts, groups = prompts_of(len(limit_PG)), slots // GROUP

    def fixed():
        for first in range(0, len(limit_PG), groups):
            some = jax.tree.map(lambda x, first=first: x[first : first + groups], prompts)
            sampled(params, some, limit_PG[first : first + groups], T, Room())

    room = room_for(SamplingConfig(slots=slots), limit_PG.size, T)
    found = side_by_side(
        {"fixed batches": fixed, "slots": lambda: sampled(params, prompts, limit_PG, T, room)}, repeats
    )
    _, computed, fed = passes(params, prompts, limit_PG, room)
    tokens = int(limit_PG.sum())
    rates = ", ".join(f"{side} {tokens / seconds:7.0f} tokens/s" for side, seconds in found.items())
    ratio = found["fixed batches"] / found["slots"]
    print(f"{name:34s} {rates}: {ratio:.2f} x; {fed / computed:.0%} of slot-steps useful", flush=True)


def copier(rows: int, length: int) -> Constraint:
    """Copy a text of the row's own, and at every place of it perhaps close a chunk and open the next, two tokens."""
    states = 3 * length + 1
    token, following = np.full((rows, states, 2), -1, np.int32), np.zeros((rows, states, 2), np.int32)
    text = np.random.default_rng(2).integers(10, MODEL.vocab_size, (rows, length))
    places = np.random.default_rng(3).random((rows, length)) < 2 / CHUNK  # a draw at random takes half of them
    for j in range(length):
        token[:, 3 * j, 0], following[:, 3 * j] = text[:, j], (3 * j + 3, 3 * j + 1)
        token[places[:, j], 3 * j, 1] = 9
        token[:, 3 * j + 1, 0], following[:, 3 * j + 1, 0] = 8, 3 * j + 2
        token[:, 3 * j + 2, 0], following[:, 3 * j + 2, 0] = text[:, j], 3 * j + 3
    token[:, -1, 0], following[:, -1] = 3, states - 1
    return Constraint(token=token, next=following)


def copying(params, rows: int, length: int, slots: int, repeats: int) -> None:
    """Print the seconds and passes of copies by single tokens and by blocks."""
    prompts, machine, T = prompts_of(rows), copier(rows, length), 2 * length
    limit_PG = np.full((rows, 1), T, np.int32)
    rooms = {f"block of {block}": Room(slots=slots, block=block) for block in (1, 4, 8, 16)}
    sides = {
        name: functools.partial(sampled, params, prompts, limit_PG, T, room, machine, 3) for name, room in rooms.items()
    }
    for name, seconds in side_by_side(sides, repeats).items():
        made, *_ = passes(params, prompts, limit_PG, rooms[name], machine, 3)
        print(f"{rows} copies of {length} tokens, {name:12s} {seconds:7.2f} s, {made} passes", flush=True)


def main() -> None:
    """Print a line a workload."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--requests", type=int, default=512)
    parser.add_argument("--mean", type=int, default=56)
    parser.add_argument("--cap", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--lengths", default="", help="a file with a length a line, or the answers of an evaluation")
    args = parser.parse_args()
    params = jax.jit(api.init, static_argnames="config")(jax.random.key(0), config=MODEL)
    if args.lengths:
        drawn = np.random.default_rng(1).permutation(read_lengths(args.lengths))
        measured = drawn[: len(drawn) // args.slots * args.slots].astype(np.int32).reshape(-1, GROUP)
        if not measured.size:
            parser.error(f"--lengths: expected at least --slots={args.slots} lengths, got {len(drawn)}")
        print(f"{api.num_params(params):,} parameters, {args.slots} slots, {measured.size} requests", flush=True)
        name = f"measured, mean {measured.mean():.0f}, longest {measured.max()}"
        against_batches(params, name, measured, int(measured.max()), args.slots, args.repeats)
        return
    print(f"{api.num_params(params):,} parameters, {args.slots} slots, {args.requests} requests", flush=True)
    ragged = lengths_of(args.requests, args.mean, args.cap)
    name = f"geometric, mean {ragged.mean():.0f}, cap {args.cap}"
    against_batches(params, name, ragged, args.cap, args.slots, args.repeats)
    equal = np.full_like(ragged, args.mean)
    against_batches(params, f"equal lengths, {args.mean}", equal, args.mean, args.slots, args.repeats)
    copying(params, args.slots, 200, args.slots, args.repeats)


if __name__ == "__main__":
    main()

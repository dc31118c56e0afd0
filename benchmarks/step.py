"""Cost of one plain training step on CPU: sample, pack, update.

A policy of about 4M parameters in the shape of Qwen3, 8 problems x 8 rollouts, 32 prompt tokens, 128 new tokens (no
row ends early), float32, no reference, one update a step. Rewards cost nothing here: advantages are random numbers.

    python benchmarks/step.py [--cores 1] [--steps 5]

Seconds are CPU seconds of the whole process (so other work on the machine hardly counts), the median of several steps
after one that warms up.
"""

# ruff: noqa: E402 (cores are chosen before JAX is imported)
import argparse
import os
import resource
import statistics
import time

ARGUMENTS = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ARGUMENTS.add_argument("--cores", type=int, default=1, help="cores to run on")
ARGUMENTS.add_argument("--steps", type=int, default=5, help="steps measured")
ARGUMENTS.add_argument("--micro-batch-rows", type=int, default=8, help="packed rows differentiated at a time")
ARGUMENTS.add_argument("--profile", default="", help="folder for a trace of the last step; empty: none")

if __name__ == "__main__":
    arguments = ARGUMENTS.parse_args()
    # XLA sizes its thread pool by the cores it may run on when it starts, so this comes before the import.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.config import GRPOConfig, ModelConfig, OptimizerConfig
from jaxreason.grpo import batch, loss, optimizer, update
from jaxreason.policy import api
from jaxreason.sampling.generate import generate
from jaxreason.types import PromptBatch, TrainState

P, G, L, T = 8, 8, 32, 128
MODEL = ModelConfig(
    vocab_size=3328,
    hidden_size=256,
    intermediate_size=768,
    num_hidden_layers=4,
    num_attention_heads=8,
    num_key_value_heads=4,
    head_dim=32,
)
NO_EOS = (-1,)


def main(steps: int, micro_batch_rows: int, profile: str) -> None:
    """Run and print."""
    grpo = GRPOConfig()
    transformation, _ = optimizer.make_optimizer(OptimizerConfig(), total_steps=steps + 1)
    params = jax.jit(api.init, static_argnames="config")(jax.random.key(0), config=MODEL)
    state = TrainState(step=jnp.int32(0), params=params, opt_state=jax.jit(transformation.init)(params))
    print(f"{api.num_params(params):,} parameters, {P} problems x {G} rollouts, {L} + {T} tokens, {_cores()} core(s)")
    apply = update.make_update(api.logp_fn(MODEL), transformation, grpo)
    # One sequence fills a row.
    shape = batch.Shape(max_micro=-(-P * G // micro_batch_rows), micro_batch_rows=micro_batch_rows, row_length=L + T)
    rng = np.random.default_rng(0)

    def step(index: int, state: TrainState) -> tuple[TrainState, dict[str, float]]:
        """One training step and the CPU seconds of its phases."""
        tokens_PL = rng.integers(0, MODEL.vocab_size, (P, L), dtype=np.int32)
        prompts = PromptBatch(tokens=tokens_PL, length=np.full(P, L, np.int32))
        start = time.process_time()
        rollout = generate(
            state.params,
            prompts,
            np.full((P, G), T, np.int32),
            jax.random.key(index),
            jnp.float32(1.0),
            config=MODEL,
            num_generations=G,
            max_completion_length=T,
            eos_ids=NO_EOS,
            pad_id=0,
        )
        rollout = jax.device_get(rollout)
        sampled = time.process_time()
        weight_PGT = loss.token_weights(
            rollout.length,
            np.ones((P, G), bool),
            role_weight=1.0,
            loss_type=grpo.loss_type,
            max_completion_length=T,
            num_tokens=T,
        )
        advantage_PGT = np.broadcast_to(rng.standard_normal((P, G, 1), np.float32), (P, G, T))
        rows = batch.items(prompts, rollout, weight_PGT=np.asarray(weight_PGT), advantage_PGT=advantage_PGT, role=0)
        packed = batch.pack(rows, shape)
        packed_at = time.process_time()
        state, metrics = apply(state, packed)
        metrics = jax.device_get(metrics)
        end = time.process_time()
        gap, count = metrics["reason/ratio/log_abs_mean"]
        assert gap / count < 1e-4, "the sampler and the trainer disagree"
        seconds = {"rollout": sampled - start, "pack": packed_at - sampled, "update": end - packed_at}
        return state, seconds | {"step": end - start}

    wall = time.perf_counter()
    state, first = step(0, state)
    first_wall = time.perf_counter() - wall
    measured = []
    for index in range(1, steps + 1):
        if profile and index == steps:
            jax.profiler.start_trace(profile)
        state, seconds = step(index, state)
        measured.append(seconds)
    if profile:
        jax.profiler.stop_trace()
    median = {name: statistics.median(s[name] for s in measured) for name in first}
    for name, seconds in median.items():
        print(f"{name:8} {seconds:6.3f} CPU s (least {min(s[name] for s in measured):.3f})")
    print(f"compile  {first['step'] - median['step']:6.1f} CPU s, first step {first_wall:.1f} s of wall time")
    print(f"memory   {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:6.2f} GiB at its peak")


def _cores() -> int:
    return len(os.sched_getaffinity(0))


if __name__ == "__main__":
    main(arguments.steps, arguments.micro_batch_rows, arguments.profile)

"""Cost of one plain training step, on CPU or on a GPU: sample, pack, update.

By default a policy of about 4M parameters in the shape of Qwen3, 8 problems x 8 rollouts, 32 prompt tokens, 128 new
tokens, float32. No row ends early, there is no reference, and a step has one update. Rewards cost nothing here:
advantages are random numbers, and so are the weights; no checkpoint is needed.

    python benchmarks/step.py [--cores 1] [--steps 5]
    python benchmarks/step.py --platform cuda --shape tests/shapes/Qwen3-0.6B --dtype bfloat16 --remat \\
        --logp-chunk 512 --prompt 256 --completion 1024 --micro-batch-rows 4

On CPU, seconds are CPU seconds of the whole process (so other work on the machine hardly counts), else those of the
clock; the median of several steps after one that warms up.
"""

# ruff: noqa: E402 (cores and platform are chosen before JAX is imported)
import argparse
import os
import resource
import statistics
import time

ARGUMENTS = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ARGUMENTS.add_argument("--platform", choices=["cpu", "cuda"], default="cpu")
ARGUMENTS.add_argument("--cores", type=int, default=1, help="cores to run on, on CPU")
ARGUMENTS.add_argument("--steps", type=int, default=5, help="steps measured")
ARGUMENTS.add_argument("--shape", default="", help="folder with a released model's config.json; empty: 4M parameters")
ARGUMENTS.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of the computation")
ARGUMENTS.add_argument("--attention", default="auto", help="model.attention_implementation")
ARGUMENTS.add_argument("--remat", action="store_true", help="rebuild each layer in the backward pass")
ARGUMENTS.add_argument("--logp-chunk", type=int, default=4096, help="tokens whose logits exist at a time")
ARGUMENTS.add_argument("--problems", type=int, default=8)
ARGUMENTS.add_argument("--generations", type=int, default=8)
ARGUMENTS.add_argument("--prompt", type=int, default=32, help="tokens")
ARGUMENTS.add_argument("--completion", type=int, default=128, help="tokens")
ARGUMENTS.add_argument("--micro-batch-rows", type=int, default=8, help="packed rows differentiated at a time")
ARGUMENTS.add_argument("--profile", default="", help="folder for a trace of the last step; empty: none")

if __name__ == "__main__":
    arguments = ARGUMENTS.parse_args()
    if arguments.platform == "cpu":
        # XLA sizes its thread pool by the cores it may run on when it starts, so this comes before the import.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])
    os.environ["JAX_PLATFORMS"] = arguments.platform

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.config import GRPOConfig, ModelConfig, OptimizerConfig
from jaxreason.grpo import batch, loss, optimizer, update
from jaxreason.policy import api, huggingface
from jaxreason.sampling.engine import generate
from jaxreason.sampling.query import Decoding, Query
from jaxreason.types import PromptBatch, TrainState

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
GAP = {("cpu", "float32"): 1e-4, ("cuda", "float32"): 1e-3, ("cpu", "bfloat16"): 2e-2, ("cuda", "bfloat16"): 2e-2}
"""Most that sampler and trainer may differ by, in nats a token on average, for the figures to mean anything. On a GPU
XLA makes float32 products in TF32, of 10 bits, unless JAX_DEFAULT_MATMUL_PRECISION says otherwise."""


def main(args: argparse.Namespace) -> None:
    """Run and print."""
    P, G, L, T = args.problems, args.generations, args.prompt, args.completion
    clock, unit = (time.process_time, "CPU s") if args.platform == "cpu" else (time.perf_counter, "s")
    model = dataclasses.replace(
        huggingface.model_config(args.shape) if args.shape else MODEL,
        dtype=args.dtype,
        attention_implementation=args.attention,
        remat=args.remat,
        logp_chunk=args.logp_chunk,
    )
    grpo = GRPOConfig()
    transformation, _ = optimizer.make_optimizer(OptimizerConfig(), total_steps=args.steps + 1)
    params = jax.jit(api.init, static_argnames="config")(jax.random.key(0), config=model)
    state = TrainState(step=jnp.int32(0), params=params, opt_state=jax.jit(transformation.init)(params))
    size = api.num_params(params)
    device = f"{len(os.sched_getaffinity(0))} core(s)" if args.platform == "cpu" else jax.devices()[0].device_kind
    print(f"{size:,} parameters, {P} problems x {G} rollouts, {L} + {T} tokens, {args.dtype}, {device}")
    apply = update.make_update(api.logp_fn(model), transformation, grpo)
    # One sequence fills a row.
    rows = args.micro_batch_rows
    shape = batch.Shape(max_micro=-(-P * G // rows), micro_batch_rows=rows, row_length=L + T)
    rng = np.random.default_rng(0)

    def step(index: int, state: TrainState) -> tuple[TrainState, dict[str, float], float]:
        """One training step, the seconds of its phases, and what sampler and trainer differ by."""
        tokens_PL = rng.integers(0, model.vocab_size, (P, L), dtype=np.int32)
        prompts = PromptBatch(tokens=tokens_PL, length=np.full(P, L, np.int32))
        start = clock()
        query = Query(prompts=prompts, limit=np.full((P, G), T, np.int32))
        how = Decoding(model, T, NO_EOS, 0)
        rollout = generate(state.params, query, jax.random.key(index), jnp.float32(1.0), how)
        rollout = jax.device_get(rollout)
        sampled = clock()
        weight_PGT = loss.token_weights(
            rollout.length,
            np.ones((P, G), bool),
            role_weight=1.0,
            loss_type=grpo.loss_type,
            max_completion_length=T,
            num_tokens=T,
        )
        advantage_PGT = np.broadcast_to(rng.standard_normal((P, G, 1), np.float32), (P, G, T))
        items = batch.items(prompts, rollout, weight_PGT=np.asarray(weight_PGT), advantage_PGT=advantage_PGT, role=0)
        packed = batch.pack(items, shape)
        packed_at = clock()
        state, metrics = apply(state, packed)
        metrics = jax.device_get(metrics)
        end = clock()
        total, count = metrics["reason/ratio/log_abs_mean"]
        seconds = {"rollout": sampled - start, "pack": packed_at - sampled, "update": end - packed_at}
        return state, seconds | {"step": end - start}, float(total / count)

    wall = time.perf_counter()
    state, first, gap = step(0, state)
    first_wall = time.perf_counter() - wall
    measured, gaps = [], [gap]
    for index in range(1, args.steps + 1):
        if args.profile and index == args.steps:
            jax.profiler.start_trace(args.profile)
        state, seconds, gap = step(index, state)
        measured.append(seconds)
        gaps.append(gap)
    if args.profile:
        jax.profiler.stop_trace()
    median = {name: statistics.median(s[name] for s in measured) for name in first}
    for name, seconds in median.items():
        print(f"{name:8} {seconds:6.3f} {unit} (least {min(s[name] for s in measured):.3f})")
    print(f"compile  {first['step'] - median['step']:6.1f} {unit}, first step {first_wall:.1f} s of wall time")
    # A forward and a backward pass are 6 operations a parameter and token; remat's second forward pass is not counted.
    products = 6 * size * P * G * (L + T) / median["update"]
    sampled = P * G * T / median["rollout"]
    print(f"speed    {sampled:,.0f} tokens sampled a {unit}, update {products / 1e12:.2f} TFLOP/s")
    print(f"memory   {_peak_bytes(args.platform) / 2**30:6.2f} GiB at its peak")
    print(f"gap      {max(gaps):.1e} nats a token between sampler and trainer, at most")
    if max(gaps) > GAP[args.platform, args.dtype]:
        raise SystemExit("the sampler and the trainer disagree: these figures mean nothing")


def _peak_bytes(platform: str) -> int:
    if platform == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)


if __name__ == "__main__":
    main(arguments)

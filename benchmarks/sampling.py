"""Milliseconds of the parts of a decode step behind the model: the draw without a filter, and what each filter adds.

    python -m benchmarks.sampling [--rows 32] [--vocab 151936] [--sorted]

Logits are normal random numbers, scaled so that top-p 0.95 keeps some dozens of tokens; the flat rows at
the end keep more than the quick look at the largest logits covers. `--sorted` times the filters by two sorts as well.
On CPU the time is the processor's, so that a machine that others use too gives the same figures.
"""

import argparse
import functools
import time

import jax
import jax.numpy as jnp

from jaxreason.sampling import methods
from jaxreason.sampling.methods import Method

METHODS = {
    "no filter": Method(),
    "top_p 0.95": Method(top_p=0.95),
    "top_k 20": Method(top_k=20),
    "min_p 0.05": Method(min_p=0.05),
    "top_k 20, top_p 0.95": Method(top_p=0.95, top_k=20),
}


STEPS = 16
clock = time.process_time if jax.default_backend() == "cpu" else time.perf_counter


def milliseconds(step, logits_SNV: jax.Array, temperature: float, repeats: int = 7) -> float:
    """Least time of a step inside a compiled loop, as decoding has it: memory is there, and no step can be left out.

    Args:
      step: (random numbers, logits, temperature) -> (token, logp).
      logits_SNV: the logits of some steps, taken in turn.
    """

    @jax.jit
    def loop(logits_SNV, temperature):
        def body(i, total):
            logits_NV = jax.lax.dynamic_index_in_dim(logits_SNV, i % logits_SNV.shape[0], keepdims=False)
            token_N, logp_N = step(
                jax.random.uniform(jax.random.key(i), (logits_NV.shape[0], 2)), logits_NV, temperature
            )
            return total + token_N + logp_N

        return jax.lax.fori_loop(0, STEPS, body, jnp.zeros(logits_SNV.shape[1]))

    temperature = jnp.float32(temperature)
    jax.block_until_ready(loop(logits_SNV, temperature))
    taken = []
    for _ in range(repeats):
        begun = clock()
        jax.block_until_ready(loop(logits_SNV, temperature))
        taken.append(clock() - begun)
    return 1000 * min(taken) / STEPS


def by_sorting(top_p: float, uniform_N2, logits_NV, temperature):
    """Top-p by a sort and its inverse, and the same draw."""
    order_NV = jnp.argsort(-logits_NV, axis=-1)
    p_NV = jax.nn.softmax(jnp.take_along_axis(logits_NV, order_NV, axis=-1), axis=-1)
    stays_NV = jnp.cumsum(p_NV, axis=-1) - p_NV < top_p
    stays_NV = jnp.take_along_axis(stays_NV, jnp.argsort(order_NV, axis=-1), axis=-1)
    return methods.draw(uniform_N2, jnp.where(stays_NV, logits_NV, -jnp.inf), temperature)


def main() -> None:
    """Print one line a method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--vocab", type=int, default=151_936)
    parser.add_argument("--sorted", action="store_true", help="time top-p by sorting too")
    args = parser.parse_args()
    noise_SNV = jax.random.normal(jax.random.key(1), (2, args.rows, args.vocab))
    logits_SNV = 6 * noise_SNV
    kept_N = jnp.isfinite(methods.filter_logits(METHODS["top_p 0.95"], logits_SNV[0])).sum(1)
    print(f"{args.rows} rows of {args.vocab} on {jax.devices()[0].device_kind}, jax {jax.__version__}; ", end="")
    print(f"top_p 0.95 keeps {kept_N.min()} to {kept_N.max()} tokens", flush=True)

    def show(name: str, *arguments, **more) -> None:
        print(f"{name:24s} {milliseconds(*arguments, **more):8.1f} ms", flush=True)

    show("reading the logits", lambda k, x, t: (jnp.int32(0), x.max(1) * t), logits_SNV, 1.0)
    for name, method in METHODS.items():

        def step(uniform_N2, logits_NV, temperature, method=method):
            return methods.sample(uniform_N2, logits_NV, temperature, method)

        show(name, step, logits_SNV, 1.0)
        if name in ("no filter", "top_p 0.95"):
            show("  the same, greedy", step, logits_SNV, 0.0)
        if name == "top_p 0.95":
            show("  the same, flat rows", step, noise_SNV, 1.0)
    if args.sorted:
        show("top_p 0.95 by sorting", functools.partial(by_sorting, 0.95), logits_SNV, 1.0, repeats=1)


if __name__ == "__main__":
    main()

"""Tokens a second of decoding from a checkpoint, in each type of the computation.

    python -m benchmarks.decode_step MODEL [--rows 16] [--tokens 128] [--top_p 1.0] [--dtype float32 bfloat16]

Parameters are held in the type of the computation. Prompts are random tokens, no token ends a row, and what is shown is
the second call, so that nothing is compiled in it.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.config import ModelConfig
from jaxreason.policy import huggingface
from jaxreason.sampling import engine
from jaxreason.sampling.methods import Method
from jaxreason.sampling.query import Decoding, Query
from jaxreason.types import PromptBatch


def seconds(model: str, dtype: str, rows: int, prompt: int, tokens: int, method: Method) -> tuple[float, float]:
    """(by the clock, of the processor) of one call that samples `tokens` tokens for each of `rows` prompts."""
    config = huggingface.model_config(model, ModelConfig(dtype=dtype, param_dtype=dtype))
    params = huggingface.load(model, config)
    prompts = np.random.default_rng(0).integers(0, config.vocab_size, (rows, prompt)).astype(np.int32)
    for number in range(2):
        begun = time.perf_counter(), time.process_time()
        query = Query(
            prompts=PromptBatch(tokens=jnp.asarray(prompts), length=jnp.full(rows, prompt, jnp.int32)),
            limit=jnp.full((rows, 1), tokens, jnp.int32),
        )
        how = Decoding(config, tokens, (-1,), 0, method)
        rollout = engine.generate(params, query, jax.random.key(number), jnp.float32(1.0), how)
        jax.block_until_ready(rollout)
        taken = time.perf_counter() - begun[0], time.process_time() - begun[1]
    return taken


def main() -> None:
    """Print a line a type."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder of a checkpoint")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--prompt", type=int, default=64, help="tokens of each prompt")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--top_p", type=float, default=1.0)
    parser.add_argument("--dtype", nargs="+", default=["float32", "bfloat16"], choices=["float32", "bfloat16"])
    args = parser.parse_args()
    print(f"{args.model}: {args.rows} rows of {args.prompt} + {args.tokens} tokens, top_p {args.top_p}", flush=True)
    for dtype in args.dtype:
        taken, processor = seconds(args.model, dtype, args.rows, args.prompt, args.tokens, Method(top_p=args.top_p))
        made = args.rows * args.tokens
        print(
            f"{dtype:10s} {made / taken:8.1f} tokens/s, {made / processor:8.1f} a second of the processor", flush=True
        )


if __name__ == "__main__":
    main()

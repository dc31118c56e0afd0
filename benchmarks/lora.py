"""Memory and time of one update: of the whole policy, and of low-rank adapters beside it.

    python benchmarks/lora.py MODEL [--rank 16] [--rows 4] [--length 256] [--param-dtype float32] [--dtype float32]

Loads a checkpoint's folder in a fresh process for each kind of training and makes two updates from random tokens, the
second of which is timed. Prints what is trained; the resident size of the process with the policy loaded, and the
highest it had to the end; what the compiler reserves for an update with all it is given, which leaves out Python, JAX
and the compiler itself; and what `policy/footprint.py` estimates for the same. On CPU: of a GPU JAX takes a fixed share
at once.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

KINDS = ("whole", "lora")
GIB = 2**30


def main() -> None:
    """Measure each kind in a process of its own."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("model", type=Path, help="folder of a checkpoint")
    arguments.add_argument("--rank", type=int, default=16)
    arguments.add_argument("--rows", type=int, default=4, help="packed rows of the one micro-batch")
    arguments.add_argument("--length", type=int, default=256, help="tokens of a row")
    arguments.add_argument("--param-dtype", choices=("float32", "bfloat16"), default="float32")
    arguments.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    arguments.add_argument("--only", choices=KINDS, help="measure one kind")
    arguments.add_argument("--compile-only", action="store_true", help="make no update; peak is then the compiler's")
    arguments.add_argument("--here", choices=KINDS, help=argparse.SUPPRESS)
    args = arguments.parse_args()
    if args.here:
        print(json.dumps(measure(args)))
        return
    print(f"{'':7}{'trained':>10}{'loaded':>12}{'peak':>12}{'compiled':>12}{'estimate':>12}{'update':>10}")
    for kind in (args.only,) if args.only else KINDS:
        command = [sys.executable, __file__, *sys.argv[1:], "--here", kind]
        done = subprocess.run(
            command, env=os.environ | {"JAX_PLATFORMS": "cpu"}, check=True, stdout=subprocess.PIPE, text=True
        )
        found = json.loads(done.stdout.splitlines()[-1])
        sizes = "".join(f"{found[name] / GIB:8.2f} GiB" for name in ("loaded", "peak", "compiled", "estimate"))
        print(f"{kind:7}{found['trained'] / 1e6:9.1f}M{sizes}{found['seconds']:8.1f} s", flush=True)


def measure(args: argparse.Namespace) -> dict[str, float]:
    """Two updates in this process. Sizes in bytes."""
    import functools

    import jax

    from jaxreason.config import Config, LoraConfig, ModelConfig
    from jaxreason.grpo import optimizer, update
    from jaxreason.policy import api, footprint, huggingface, lora
    from jaxreason.types import TrainState

    adapters = LoraConfig(r=args.rank) if args.here == "lora" else LoraConfig()
    asked = ModelConfig(dtype=args.dtype, param_dtype=args.param_dtype, remat=True, logp_chunk=512)
    model, config = huggingface.model_config(args.model, asked), Config()
    start = jax.block_until_ready(huggingface.load(args.model, model))
    loaded = _status("VmRSS")
    transformation, _ = optimizer.make_optimizer(config.optimizer, 10)

    @functools.partial(jax.jit, donate_argnums=0 if args.here == "whole" else ())
    def begin(params):
        trained = lora.initial(params, adapters, 0)
        return TrainState(step=jax.numpy.int32(0), params=trained, opt_state=transformation.init(trained))

    state = jax.eval_shape(begin, start) if args.compile_only else begin(start)
    beside = [start] if adapters.wanted else []
    made = update.make_update(
        api.logp_fn(model), transformation, config.grpo, policy=functools.partial(lora.policy, config=adapters)
    )
    packed = _batch(args.rows, args.length, model.vocab_size)
    compiled = made.lower(state, packed, *beside).compile()
    reserved, seconds = compiled.memory_analysis(), float("nan")
    for _ in range(0 if args.compile_only else 2):
        began = time.perf_counter()
        state, metrics = jax.block_until_ready(compiled(state, packed, *beside))
        seconds = time.perf_counter() - began
        assert float(metrics["skipped"][0]) == 0
    return {
        "loaded": loaded,
        "peak": _status("VmHWM"),
        "compiled": reserved.argument_size_in_bytes + reserved.temp_size_in_bytes,
        "estimate": footprint.state(model, adapters, start=adapters.wanted)
        + footprint.update(model, args.rows * args.length, adapters=adapters),
        "trained": api.num_params(state.params),
        "seconds": seconds,
    }


def _batch(rows: int, length: int, vocab_size: int) -> Any:
    """One micro-batch of random completions, a sequence a row."""
    from jaxreason.grpo.batch import PackItem, Shape, pack

    rng, half = np.random.default_rng(0), length // 2
    items = [
        PackItem(
            prompt=rng.integers(0, vocab_size, half).astype(np.int32),
            completion=rng.integers(0, vocab_size, length - half).astype(np.int32),
            old_logp=np.full(length - half, -10.0, np.float32),
            weight=np.full(length - half, 1 / (rows * (length - half)), np.float32),
            advantage=np.full(length - half, rng.normal(), np.float32),
            role=0,
        )
        for _ in range(rows)
    ]
    return pack(items, Shape(max_micro=1, micro_batch_rows=rows, row_length=length))


def _status(name: str) -> int:
    """Bytes, of this program alone."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) * 1024


if __name__ == "__main__":
    main()

"""How much memory and time it takes to load a checkpoint, beyond the parameters themselves.

    python benchmarks/load_memory.py [--gigabytes 3] [--devices 1 8] [--param-dtype bfloat16]

Makes a random Qwen3 of about that size in bfloat16 in a temporary folder (several files and an index), then loads it in
a fresh process each on 1 and on 8 CPU devices, the 8 as a 4 x 2 mesh. Prints the highest resident size on the way, what
the parameters take, the difference, and the seconds.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

WIDTH, HIDDEN, HEADS, VOCABULARY = 2048, 6144, 16, 32768


def main() -> None:
    """Make the checkpoint, then measure in processes of their own."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--gigabytes", type=float, default=3.0, help="of the checkpoint, in bfloat16")
    arguments.add_argument("--devices", type=int, nargs="+", default=[1, 8])
    arguments.add_argument("--param-dtype", choices=("bfloat16", "float32"), default="bfloat16")
    arguments.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    args = arguments.parse_args()
    if args.load:
        print(json.dumps(measure(args.load, args.param_dtype)))
        return
    with tempfile.TemporaryDirectory() as folder:
        layers, files = make(Path(folder), args.gigabytes)
        print(f"{layers} layers in {files} files; largest tensor {VOCABULARY * WIDTH * 2 / 1e6:.0f} MB")
        for devices in args.devices:
            environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}
            command = [sys.executable, __file__, "--load", folder, "--param-dtype", args.param_dtype]
            done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
            found = json.loads(done.stdout.splitlines()[-1])
            print(
                f"{devices} devices: peak {found['peak'] / 1e9:.2f} GB, before loading {found['before'] / 1e9:.2f} GB, "
                f"parameters {found['params'] / 1e9:.2f} GB, beyond both "
                f"{(found['peak'] - found['before'] - found['params']) / 1e9:.2f} GB; {found['seconds']:.1f} s"
            )


def make(folder: Path, gigabytes: float) -> tuple[int, int]:
    """Write a random Qwen3, a file for every four layers."""
    rng = np.random.default_rng(0)
    some = rng.standard_normal(1 << 20, np.float32).astype(ml_dtypes.bfloat16)
    layer = {
        **{f"self_attn.{name}_proj": (WIDTH, WIDTH) for name in "qkvo"},
        **{f"mlp.{name}_proj": (HIDDEN, WIDTH) for name in ("gate", "up")},
        **{"mlp.down_proj": (WIDTH, HIDDEN), "input_layernorm": (WIDTH,), "post_attention_layernorm": (WIDTH,)},
        **{"self_attn.q_norm": (WIDTH // HEADS,), "self_attn.k_norm": (WIDTH // HEADS,)},
    }
    embedding = {"model.embed_tokens": (VOCABULARY, WIDTH), "model.norm": (WIDTH,)}
    per_layer = 2 * sum(int(np.prod(shape)) for shape in layer.values())
    layers = max(1, round((gigabytes * 1e9 - 2 * VOCABULARY * WIDTH) / per_layer))
    parts = [embedding] + [
        {
            f"model.layers.{y}.{name}": shape
            for y in range(first, min(first + 4, layers))
            for name, shape in layer.items()
        }
        for first in range(0, layers, 4)
    ]
    placed = {}
    for number, part in enumerate(parts, start=1):
        file = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        tensors = {f"{name}.weight": np.resize(some, shape) for name, shape in part.items()}
        save_file(tensors, folder / file, metadata={"format": "pt"})
        placed |= dict.fromkeys(tensors, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": placed}))
    config = {"model_type": "qwen3", "tie_word_embeddings": True, "hidden_size": WIDTH, "intermediate_size": HIDDEN}
    config |= {"num_hidden_layers": layers, "num_attention_heads": HEADS, "num_key_value_heads": HEADS}
    config |= {"vocab_size": VOCABULARY, "head_dim": WIDTH // HEADS}
    (folder / "config.json").write_text(json.dumps(config))
    return layers, len(parts)


def measure(folder: Path, param_dtype: str) -> dict[str, float]:
    """Load in this process, over all its devices. Sizes in bytes."""
    import jax
    from jax.sharding import AxisType, NamedSharding, PartitionSpec

    from jaxreason.config import ModelConfig
    from jaxreason.policy import api, huggingface

    config = huggingface.model_config(folder, ModelConfig(param_dtype=param_dtype))
    shardings = None
    if jax.device_count() > 1:
        mesh = jax.make_mesh((jax.device_count() // 2, 2), ("a", "b"), axis_types=(AxisType.Auto,) * 2)

        def place(x):
            matrix = x.ndim > 1 and min(x.shape[-2:]) >= WIDTH
            return NamedSharding(mesh, PartitionSpec(*([None] * (x.ndim - 2) + ["a", "b"] if matrix else [])))

        shardings = jax.tree.map(place, api.shapes(config))
    jax.block_until_ready(jax.numpy.zeros(8) + 1)
    before, began = _status("VmRSS"), time.perf_counter()
    params = jax.block_until_ready(huggingface.load(folder, config, shardings))
    seconds = time.perf_counter() - began
    held = sum(shard.data.nbytes for x in jax.tree.leaves(params) for shard in x.addressable_shards)
    return {"before": before, "peak": _status("VmHWM"), "params": held, "seconds": seconds}


def _status(name: str) -> int:
    """Bytes, of this program alone: getrusage would count what its parent had."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) * 1024


if __name__ == "__main__":
    main()

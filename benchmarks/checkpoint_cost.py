"""What a checkpoint costs: seconds a save keeps the loop, seconds until it is on disk, bytes there, seconds to load.

python benchmarks/checkpoint_cost.py --gigabytes 2 --folder /tmp/checkpoint_cost
The state is random numbers, which do not compress: parameters and AdamW's two moments, a third each.
"""

import argparse
import shutil
import time
from pathlib import Path

import jax
import jax.numpy as jnp

from jaxreason.run.checkpoint import open_checkpoints, size

ARRAYS = 24


def main() -> None:
    """Save twice (the first save warms up) and load once."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=2.0, help="of the whole state")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/checkpoint_cost"), help="to write in; emptied after")
    arguments = parser.parse_args()
    rows = int(arguments.gigabytes * 1e9 / 4 / ARRAYS / 1024)
    keys = jax.random.split(jax.random.key(0), ARRAYS)
    state = {f"w{n}": jax.block_until_ready(jax.random.normal(key, (rows, 1024))) for n, key in enumerate(keys)}
    work = jax.jit(lambda x: jax.lax.fori_loop(0, 20, lambda _, y: jnp.tanh(y @ y), x))
    x = jax.block_until_ready(work(jnp.eye(512)))
    try:
        with open_checkpoints(arguments.folder, 1) as checkpoints:
            for step in (1, 2):
                began = time.perf_counter()
                checkpoints.save(step, state, {})
                blocked = time.perf_counter() - began
                turns = 0
                while not (arguments.folder / str(step)).is_dir():  # what the next rollout would do meanwhile
                    x = jax.block_until_ready(work(x))
                    turns += 1
                checkpoints.wait()
                durable = time.perf_counter() - began
                print(
                    f"save {step}: the loop waits {blocked:.2f} s, on disk after {durable:.2f} s, {turns} turns between"
                )
            held = sum(file.stat().st_size for file in (arguments.folder / "2").rglob("*") if file.is_file())
            print(f"state {size(state) / 1e9:.2f} GB, on disk {held / 1e9:.2f} GB")
            began = time.perf_counter()
            asked = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), state)
            jax.block_until_ready(checkpoints.restore(2, asked)[0])
            print(f"loaded and compared in {time.perf_counter() - began:.2f} s")
    finally:
        shutil.rmtree(arguments.folder, ignore_errors=True)


if __name__ == "__main__":
    main()

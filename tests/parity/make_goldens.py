"""Write what transformers says of every case to tests/policy/goldens/.

    python -m tests.parity.make_goldens [CASE ...]

Run it after a change to cases.py, in an environment with torch (`make test-parity` makes one).
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from tests.parity import cases, oracle

FOLDER = Path(__file__).parents[1] / "policy" / "goldens"


def main(names: list[str]) -> None:
    """Write the named cases, or all of them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in names or cases.CASES:
        with tempfile.TemporaryDirectory() as folder:
            found = oracle.expected(name, cases.write(name, Path(folder)))
        np.savez_compressed(
            FOLDER / f"{name}.npz",
            logits=np.concatenate([x[:: cases.EVERY] for x in found.logits]),
            logp=np.concatenate(found.logp),
            greedy=found.greedy.astype(np.uint8),
        )
        size = (FOLDER / f"{name}.npz").stat().st_size
        print(f"{name}: {size} bytes", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

"""Greedy tokens of a policy by jaxreason's engine and by transformers in torch, side by side.

    python benchmarks/same_tokens.py MODEL PROBLEMS [--theirs FOLDER] [--count 32] [--tokens 64]

MODEL is a checkpoint or a run's folder; `--section.field=value` overrides its configuration. transformers opens FOLDER,
such as what `jaxreason export` made of the run; without it MODEL. Both compute in float32, and no token ends an answer.
Needs torch (`make .venv/.torch`).
"""

import argparse
import dataclasses
from pathlib import Path

import jax
import numpy as np

from jaxreason.agents import reasoner
from jaxreason.data import problems
from jaxreason.evaluation import stored
from jaxreason.parallel.mesh import on_mesh
from jaxreason.sampling.engine import generate
from jaxreason.sampling.query import Decoding, Query
from jaxreason.sampling.room import Room
from jaxreason.types import PromptBatch

SLOTS = 16


def ours(place: stored.Place, asked: PromptBatch, tokens: int) -> np.ndarray:
    """Greedy tokens, int [P T]."""
    with on_mesh(place.config, print):
        params, _ = stored.open_policy(place, None)
        query = Query(prompts=asked, limit=np.full((len(asked.length), 1), tokens, np.int32))
        model = dataclasses.replace(place.config.model, dtype="float32")
        how = Decoding(model, tokens, (-1,), place.tokenizer.pad_id, room=Room(slots=SLOTS))
        return np.asarray(generate(params, query, jax.random.key(0), np.float32(0), how).tokens)[:, 0]


def theirs(folder: str, asked: PromptBatch, tokens: int) -> np.ndarray:
    """The same by transformers, a prompt at a time, so that nothing depends on padding."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.generation_config.eos_token_id = None
    found = []
    for row, length in zip(np.asarray(asked.tokens), np.asarray(asked.length), strict=True):
        ids = torch.tensor(row[len(row) - length :][None].astype(np.int64))
        with torch.no_grad():
            made = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=tokens)
        found.append(made[0, length:].numpy())
    return np.stack(found)


def main() -> None:
    """Print how many prompts and tokens are the same."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("problems", type=Path)
    parser.add_argument("--theirs", default=None)
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=64)
    arguments, overrides = parser.parse_known_args()
    place = stored.open_place(arguments.model, overrides)
    some = problems.read_jsonl(arguments.problems)[: arguments.count]
    asked = reasoner.prompts_of(some, place.config, place.tokenizer)
    one = ours(place, asked, arguments.tokens)
    other = theirs(arguments.theirs or arguments.model, asked, arguments.tokens)
    same = one == other
    print(f"prompts with the same {arguments.tokens} tokens: {same.all(1).sum()} of {len(same)}")
    print(f"tokens that are the same: {same.sum()} of {same.size}")


if __name__ == "__main__":
    main()

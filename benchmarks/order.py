"""Does the scorer read chunks, or count them? Scores of the same chunks in another order, or with other numbers.

    python benchmarks/order.py MODEL found.json --count 16

found.json is from `benchmarks/helpers.py`. Scores are expectations, read in one pass with a 3 for every score before.
For each variant: the mean correlation, inside a chain, of a chunk's score with its place in the list that is shown, and
with its score in the first variant. A scorer that reads has 0 and 1, one that counts the other way round.
"""

import argparse
import functools
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.agents import constraints, prompts
from jaxreason.agents.frozen_scorer import answer_tokens
from jaxreason.evaluation import stored
from jaxreason.parallel.mesh import on_mesh
from jaxreason.policy import api

MIDDLE, ROWS, WIDTH, SHIFT = 3, 4, 128, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("found", type=Path)
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--step", type=int, default=None)
    arguments, overrides = parser.parse_known_args()
    place = stored.open_place(arguments.model, overrides)
    chains = [row for row in json.loads(arguments.found.read_text()) if len(row["chunks"]) > 2][: arguments.count]
    rng = np.random.default_rng(0)
    orders = {
        "as written": [np.arange(len(row["chunks"])) for row in chains],
        "shuffled": [rng.permutation(len(row["chunks"])) for row in chains],
        "reversed": [np.arange(len(row["chunks"]))[::-1] for row in chains],
        f"numbers from {SHIFT + 1}": [np.arange(len(row["chunks"])) for row in chains],
    }
    with on_mesh(place.config, lambda line: print(line, file=sys.stderr)):
        params, _ = stored.open_policy(place, arguments.step)
        found = {
            name: expected(params, place, chains, some, SHIFT if name.startswith("numbers") else 0)
            for name, some in orders.items()
        }
    print(f"{len(chains)} chains, {sum(len(row['chunks']) for row in chains)} chunks")
    print("| order | mean score | with the place | with the score as written |\n|---|---|---|---|")
    for name, scores in found.items():
        places = [np.argsort(order) for order in orders[name]]
        by_place = np.nanmean([correlation(s, p) for s, p in zip(scores, places, strict=True)])
        same = np.nanmean([correlation(s, t) for s, t in zip(scores, found["as written"], strict=True)])
        print(f"| {name} | {np.concatenate(scores).mean():.2f} | {by_place:.2f} | {same:.2f} |")


def expected(params, place: stored.Place, chains: list[dict], orders, shift: int) -> list[np.ndarray]:
    """Expected score of each chunk, in the order in which the chain has them."""
    config, tok = place.config, place.tokenizer
    digits = constraints.digit_tokens(tok)
    rows = []
    for row, order in zip(chains, orders, strict=True):
        (asked,) = prompts.render_score([row["question"]], [[row["chunks"][i] for i in order]], config.agents, tok)
        parts = prompts.score_parts(len(order), config.agents)
        for i in reversed(range(len(order))) if shift else ():
            parts[i] = parts[i].replace(f"[{i + 1}]", f"[{i + 1 + shift}]")
            asked = asked.replace(f"\n[{i + 1}] ", f"\n[{i + 1 + shift}] ")
        (prompt,) = tok.encode_batch([asked])
        tokens, at = answer_tokens([MIDDLE] * len(order), parts, digits.tolist(), tok)
        rows.append(([*prompt, *tokens], len(prompt) + np.array(at)))
    width = -(-max(len(tokens) for tokens, _ in rows) // WIDTH) * WIDTH
    found = []
    for start in range(0, len(rows), ROWS):
        some = rows[start : start + ROWS]
        tokens_BS, segments_BS = np.zeros((ROWS, width), np.int32), np.zeros((ROWS, width), np.int32)
        few_BSA = np.full((ROWS, width, len(digits)), -1, np.int32)
        for b, (tokens, at) in enumerate(some):
            tokens_BS[b, : len(tokens)], segments_BS[b, : len(tokens)] = tokens, 1
            few_BSA[b, at] = digits
        scores_BS = np.asarray(_expected(params, tokens_BS, segments_BS, few_BSA, config=config.model))
        found += [1 + scores_BS[b, at] for b, (_, at) in enumerate(some)]
    return [shown[np.argsort(order)] for shown, order in zip(found, orders, strict=True)]


@functools.partial(jax.jit, static_argnames="config")
def _expected(params, tokens_BS, segments_BS, few_BSA, *, config):
    positions_BS = jnp.broadcast_to(jnp.arange(tokens_BS.shape[1]), tokens_BS.shape)
    return api.expected_candidate(params, tokens_BS, positions_BS, segments_BS, few_BSA, config=config)


def correlation(a, b) -> float:
    """nan where one of them does not vary."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else float("nan")


if __name__ == "__main__":
    main()

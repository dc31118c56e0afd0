"""Does leaving a chunk out tell needed chunks from needless ones? Held against the labels of the built-in task.

    python benchmarks/yardstick.py runs/quickstart --steps 1 2 3 4 5 6

Takes the completions and chunks in a run's samples of these steps. The policy as it was at the start reads each text
whole and without each of its chunks; three figures of what changes behind the chunk are compared: the largest fall in
log-probability of a token (preset `contribution` uses it), the sum over all tokens, and the sum over the answer alone.
AUC: how often a needed chunk has the larger figure than a needless one; malformed chunks are left out.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.agents import prompts
from jaxreason.data.problems import Problem
from jaxreason.evaluation import stored
from jaxreason.parallel.mesh import on_mesh
from jaxreason.policy import api
from jaxreason.tasks.calculator.demonstrations import NEEDLESS, label
from jaxreason.tasks.opening import task_of

BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 3, 4, 5, 6])
    arguments = parser.parse_args()
    place = stored.open_place(str(arguments.run))
    rows = []
    for step in arguments.steps:
        file = arguments.run / "samples" / f"step_{step:06d}.jsonl"
        if not file.is_file():
            parser.error(f"{file}: expected the samples of a step, got no file")
        rows += [json.loads(line) for line in file.read_text().splitlines()]
    with on_mesh(place.config, print):
        params, _ = stored.load_policy(arguments.run, place.config, 0)
        kinds, figures, scores = measure(params, place, rows)
    needed = np.array([kind not in NEEDLESS for kind in kinds])
    print(f"{len(kinds)} chunks, {needed.sum()} of them needed")
    print("| figure | AUC | " + " | ".join(f"{kind} ({n})" for kind, n in Counter(kinds).most_common()) + " |")
    print("|---|---|" + "---|" * len(set(kinds)))
    for name, value in {**figures, "score of the run's scorer": np.array(scores)}.items():
        medians = [f"{np.median(value[np.array(kinds) == kind]):.1f}" for kind, _ in Counter(kinds).most_common()]
        print(f"| {name} | {auc(value, needed):.3f} | {' | '.join(medians)} |")


def measure(params, place, rows) -> tuple[list[str], dict[str, np.ndarray], list[int]]:
    """Kind, figures and score of every chunk of finished rows; kinds of most of a chunk's characters."""
    tok, config = place.tokenizer, place.config
    room = config.data.max_prompt_length + config.sampling.max_completion_length

    @jax.jit
    def logp(params, tokens_BS):
        positions_BS = jnp.broadcast_to(jnp.arange(room), tokens_BS.shape)
        return api.token_logp(params, tokens_BS, positions_BS, jnp.ones_like(tokens_BS), config=config.model)[0]

    texts, found = [], []
    for row in rows:
        text, parts = row["resps"][0][0], row.get("chunks", [])
        y = "".join(parts)
        if not row.get("scores") or row["finish_reason"] != "stop" or not text.startswith(y):
            continue
        question = row["doc"]["question"]
        asked = Problem(row["doc_id"], question, row["target"])
        (prompt,) = tok.encode_batch(prompts.render_reason([asked], task_of(config.data), config.agents, tok))
        ids = tok.encode_batch([*parts, text[len(y) :]])
        tail = [*ids.pop(), tok.eos_id]
        found.append((len(texts), len(prompt), [len(i) for i in ids], len(tail), kinds_of(question, text, parts), row))
        for k in (None, *range(len(parts))):
            texts.append([*prompt, *(t for n, part in enumerate(ids) if n != k for t in part), *tail])
    tokens_NS = np.zeros((-(-len(texts) // BATCH) * BATCH, room), np.int32)
    for n, text in enumerate(texts):
        tokens_NS[n, : len(text)] = text
    parts = [np.asarray(logp(params, tokens_NS[n : n + BATCH])) for n in range(0, len(tokens_NS), BATCH)]
    logp_NS = np.concatenate(parts)

    kinds, scores = [], []
    figures: dict[str, list[float]] = {"largest fall": [], "sum of falls": [], "fall of the answer": []}
    for first, start, lengths, tail, named, row in found:
        whole = logp_NS[first, : len(texts[first])]
        for k, (kind, length) in enumerate(zip(named, lengths, strict=True)):
            behind = start + sum(lengths[: k + 1])
            cut = logp_NS[first + 1 + k, : len(texts[first + 1 + k])]
            fall = whole[behind:] - cut[behind - length :]
            if kind == "malformed":
                continue
            kinds.append(kind)
            scores.append(row["scores"][k])
            figures["largest fall"].append(max(0.0, fall.max()))
            figures["sum of falls"].append(fall.sum())
            figures["fall of the answer"].append(fall[-tail:].sum())
    return kinds, {name: np.array(values) for name, values in figures.items()}, scores


def kinds_of(question: str, text: str, chunks: list[str]) -> list[str]:
    """What most characters of each chunk belong to."""
    names = [piece.kind for piece in label(question, text) for _ in piece.text]
    ends = np.cumsum([len(chunk) for chunk in chunks])
    return [
        Counter(names[a:b]).most_common(1)[0][0] for a, b in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)
    ]


def auc(value: np.ndarray, positive: np.ndarray) -> float:
    """Probability that a positive has the larger value than a negative, ties counted half."""
    above = value[positive][:, None] - value[~positive][None]
    return float(((above > 0) + 0.5 * (above == 0)).mean())


if __name__ == "__main__":
    main()

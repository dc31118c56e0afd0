"""Which measured quantity says that a step of a chain is needed? Candidates against labels by rule, on real chains.

    python benchmarks/importance.py measure MODEL chains.jsonl --count 24 --to measured.npz
    python benchmarks/importance.py table measured.npz

Chains are answers of `jaxreason evaluate`; those that were cut are left out. Each is split at its natural places, steps
are labelled by `step_labels.py`, and each candidate gets one number a step, none of which sees the labels:

- cut: the step is left out, and the model reads on: by how much does the log-probability of what follows fall?
- neutral: the same, with an ellipsis in the step's place, so that the form of the text stays;
- prefix: the answer is forced behind each prefix of the chain: how much likelier does a step make it (SwAP)?
- answer reached: 1 up to the first step in which the answer stands, 0 behind it (DeCS);
- attention: how much of its attention the text of the answer pays to the step (AttnPO).

AUC is how often a needed step has the larger number than a needless one.
"""

import argparse
import functools
import itertools
import json
import re
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import step_labels
from helpers import read_chains
from step_labels import auc

from jaxreason.agents import contribution, prompts
from jaxreason.agents.boundaries import places
from jaxreason.data.problems import Problem
from jaxreason.data.tokenizer import text_of
from jaxreason.evaluation import stored
from jaxreason.ops import logprob
from jaxreason.parallel.mesh import on_mesh
from jaxreason.policy import api
from jaxreason.policy.rope import rotation
from jaxreason.policy.transformer import Block, RMSNorm
from jaxreason.tasks.opening import task_of
from jaxreason.tasks.reading import find_reasoning

NEUTRAL = "...\n\n"
FORCED = "\n\nThe final answer is \\boxed{"
SKIP = 8
WIDTH = 1024
"""Trees are padded to a multiple of this, so that few programs are compiled."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    some = commands.add_parser("measure")
    some.add_argument("model")
    some.add_argument("chains", type=Path)
    some.add_argument("--count", type=int, default=24)
    some.add_argument("--to", type=Path, required=True)
    some = commands.add_parser("table")
    some.add_argument("measured", type=Path)
    arguments, overrides = parser.parse_known_args()
    if arguments.command == "measure":
        measure(arguments, overrides)
    else:
        table(json.loads(arguments.measured.read_text()))


def measure(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Read every variant of every chain; write log-probabilities and attention."""
    place = stored.open_place(arguments.model, overrides)
    config, tok, task = place.config, place.tokenizer, task_of(place.config.data)
    found = []
    with on_mesh(config, lambda line: print(line, file=sys.stderr)):
        params, _ = stored.open_policy(place)
        for row in read_chains(arguments.chains, arguments.count):
            began = time.monotonic()
            problem = Problem(row["doc_id"], row["doc"]["question"], row["target"])
            (asked,) = tok.encode_batch(prompts.render_reason([problem], task, config.agents, tok))
            (ids,) = tok.encode_batch([row["resps"][0][0]])
            reasoning = find_reasoning(ids, tok, task.read)
            end = reasoning.places[-1] + 1 if reasoning.places else 0
            at = [*np.flatnonzero(places(ids[:end], tok, max_chunks=64)).tolist(), end]
            steps = [ids[a:b] for a, b in itertools.pairwise([0, *at])]
            tail = [*ids[end:], tok.eos_id]
            if len(steps) < 2:
                continue
            one = {"question": problem.question, "target": problem.answer, "answer": reasoning.answer or ""}
            one["steps"] = [text_of(step, tok) for step in steps]
            one["tail"] = text_of(tail[:-1], tok)
            one["ids"] = steps
            one["pieces"] = [tok.token_bytes(i).decode("latin-1") for step in [*steps, tail] for i in step]
            one |= read(params, config, tok, asked, steps, tail, one["answer"], problem.answer)
            found.append(one)
            print(f"{len(found)}: {len(steps)} steps, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
            arguments.to.write_text(json.dumps(found))


def read(params, config, tok, asked, steps, tail, own: str, gold: str) -> dict:
    """Log-probabilities of the chain, of what is behind each step without it and with an ellipsis in its place, of
    the answers forced behind every prefix; and the attention of the answer's text to each step, [layers steps].

    One pass over a tree: the chain is the trunk, and each variant a branch that sees the trunk up to where it begins.
    """
    neutral, forced, *answers = tok.encode_batch([NEUTRAL, FORCED, own + "}", gold + "}"])
    trunk = [*asked, *itertools.chain(*steps), *tail]
    borders = (len(asked) + np.cumsum([0, *map(len, steps)])).tolist()
    branches = [(a, trunk[b:]) for a, b in itertools.pairwise(borders)]
    branches += [(a, [*neutral, *trunk[b:]]) for a, b in itertools.pairwise(borders)]
    branches += [(a, [*forced, *answer]) for answer in answers for a in borders]
    S = -(-(len(trunk) + sum(len(branch) for _, branch in branches)) // WIDTH) * WIDTH
    tree = {name: np.zeros(S, np.int32) for name in ("tokens", "positions", "branch", "limit", "parent")}
    tree["branch"][:] = len(branches) + 1  # of the unused end, which nobody sees
    at = 0
    for number, (start, tokens) in enumerate([(0, trunk), *branches]):
        part = slice(at, at + len(tokens))
        tree["tokens"][part], tree["branch"][part], tree["limit"][part] = tokens, number, start
        tree["positions"][part] = start + np.arange(len(tokens))
        tree["parent"][part] = np.arange(at - 1, at - 1 + len(tokens))
        tree["parent"][at] = max(0, start - 1)
        at += len(tokens)
    asks = (np.arange(S) >= len(trunk) - len(tail) - 1) & (np.arange(S) < len(trunk) - 1)
    logp_S, paid_YS = map(np.asarray, _tree(params, **tree, asks=asks, config=config.model))
    found, n = [], len(steps)
    for number, (_, tokens) in enumerate([(0, trunk), *branches]):
        found.append(logp_S[tree["branch"] == number][: len(tokens)].tolist())
    return {
        "whole": found[0][len(asked) :],
        "cut": found[1 : n + 1],
        "neutral": [logp[len(neutral) :] for logp in found[n + 1 : 2 * n + 1]],
        "own": [logp[len(forced) :] for logp in found[2 * n + 1 : 3 * n + 2]],
        "gold": [logp[len(forced) :] for logp in found[3 * n + 2 :]],
        "attention": [[float(paid_S[a:b].sum()) for a, b in itertools.pairwise(borders)] for paid_S in paid_YS],
    }


@functools.partial(jax.jit, static_argnames="config")
def _tree(params, tokens, positions, branch, limit, parent, asks, *, config):
    """(log-probability of each token after its parent [S], attention of the asking tokens to each [layers S])."""
    unstacked, S = api.unstack(params, config), tokens.shape[0]
    place = jnp.arange(S)
    seen_SS = (branch[:, None] == branch[None]) & (place[:, None] >= place[None])
    seen_SS |= (branch == 0)[None] & (place[None] < limit[:, None])
    x = unstacked["embed_tokens"].astype(config.dtype)[tokens][None]
    angles, paid = rotation(positions[None], S, config), []
    groups = config.num_attention_heads // config.num_key_value_heads
    for p in unstacked["layers"]:
        block = Block(config, False, 0)
        q, k, v = block.apply({"params": p}, x, angles, method=Block.qkv)

        def of_head(h, q=q, k=k, v=v):
            scores = jnp.einsum("sc,tc->st", q[0, :, h], k[0, :, h // groups], preferred_element_type=jnp.float32)
            weight = jax.nn.softmax(jnp.where(seen_SS, scores / np.sqrt(config.head_dim), -jnp.inf), axis=-1)
            attended = jnp.einsum("st,tc->sc", weight.astype(v.dtype), v[0, :, h // groups])
            return attended, jnp.where(asks[:, None], weight, 0.0).sum(0) / asks.sum()

        attended, weight = jax.lax.map(of_head, jnp.arange(config.num_attention_heads))
        paid.append(weight.mean(0))
        x, _ = block.apply({"params": p}, x, attended.swapaxes(0, 1)[None].astype(x.dtype), method=Block.finish)
    hidden = RMSNorm(config.rms_norm_eps, config.dtype, config.param_dtype).apply({"params": params["norm"]}, x)[0]
    head = api.head(params, config)
    logp, _ = logprob.token_logp(hidden[parent], head, tokens, None, chunk=config.logp_chunk)
    return logp, jnp.stack(paid)


def figures(one: dict) -> dict[str, list[float]]:
    """Every candidate's number for each step of a chain."""
    steps, n = one["ids"], len(one["ids"])
    whole, pieces = np.array(one["whole"]), [piece.encode("latin-1") for piece in one["pieces"]]
    digits, numbers = np.array([bool(re.search(rb"\d", piece)) for piece in pieces]), contribution.numbers(pieces)
    ends = np.cumsum([len(step) for step in steps])
    found: dict[str, list[float]] = {}

    def add(name: str, value: float) -> None:
        found.setdefault(name, []).append(float(value))

    for k in range(n):
        for kind in ("cut", "neutral"):
            fall = whole[ends[k] :] - np.array(one[kind][k])
            digit, number = digits[ends[k] :], numbers[ends[k] :]
            later, numbers_later = np.arange(len(fall)) >= SKIP, number & (np.arange(len(fall)) >= SKIP)
            own = number & of_values(pieces, step_labels.numbers(one["steps"][k]))[ends[k] :]
            add(f"{kind}: largest on digits", max(0, fall[digit].max(initial=0)))
            add(f"{kind}: largest on numbers of the step", max(0, fall[own].max(initial=0)))
            add(f"{kind}: largest fall", max(0, fall.max(initial=0)))
            add(f"{kind}: sum of falls", fall.sum())
            add(f"{kind}: largest, skipping {SKIP} tokens", max(0, fall[later].max(initial=0)))
            add(f"{kind}: largest on numbers", max(0, fall[number].max(initial=0)))
            add(f"{kind}: largest on numbers, skipping", max(0, fall[numbers_later].max(initial=0)))
            add(f"{kind}: sum on numbers", fall[number].sum())
            add(f"{kind}: sum on numbers, falls only", np.maximum(fall[number], 0).sum())
            add(f"{kind}: sum on numbers, skipping", fall[numbers_later].sum())
        for kind in ("own", "gold"):
            forced = [sum(x) for x in one[kind]]
            add(f"prefix: gain of the {kind} answer", forced[k + 1] - forced[k])
            add(f"prefix: likelihood of the {kind} answer", forced[k + 1])
        inside = slice(ends[k] - len(steps[k]), ends[k])
        add("surprise of its numbers", -whole[inside][numbers[inside]].sum())
        add("surprise of its tokens", -whole[inside].sum())
        add("digits in it", numbers[inside].sum())
        add("place", k)
        add("length", len(steps[k]))
    final = step_labels.numbers(one["answer"])
    reached = [bool(final & step_labels.numbers(step)) for step in one["steps"]]
    first = reached.index(True) if True in reached else n
    found["answer reached"] = [float(k <= first) for k in range(n)]
    paid = np.array(one["attention"])
    found["attention of the answer"] = paid.mean(0).tolist()
    found["attention, a token"] = (paid.mean(0) / [len(step) for step in steps]).tolist()
    half = paid[len(paid) // 2 :].mean(0)
    found["attention, later layers, a token"] = (half / [len(step) for step in steps]).tolist()
    return found


def of_values(pieces: list[bytes], values: set[float]) -> np.ndarray:
    """Which tokens belong to a number of one of these values."""
    text, borders = b"".join(pieces), np.cumsum([0, *map(len, pieces)])
    inside = np.zeros(len(text) + 1, int)
    for match in re.finditer(rb"\d[\d,]*(?:\.\d+)?", text):
        if float(match.group().replace(b",", b"")) in values:
            inside[slice(*match.span())] = 1
    until = np.concatenate([[0], np.cumsum(inside)])
    return until[borders[1:]] > until[borders[:-1]]


def table(chains: list[dict]) -> None:
    """Print AUC over all steps, and the mean over chains of the AUC inside a chain."""
    labels, all_figures, inside = [], {}, {}
    for one in chains:
        names = step_labels.label(one["question"], one["steps"], one["tail"])
        keep = [name != step_labels.NONE for name in names]
        needed = [name == step_labels.NEEDED for name, kept in zip(names, keep, strict=True) if kept]
        labels += [name for name, kept in zip(names, keep, strict=True) if kept]
        for name, values in figures(one).items():
            some = [value for value, kept in zip(values, keep, strict=True) if kept]
            all_figures.setdefault(name, []).extend(some)
            if some and 0 < sum(needed) < len(needed):
                inside.setdefault(name, []).append(auc(some, needed))
    kinds = [kind for kind in step_labels.NEEDLESS if kind in labels]
    needed = np.array([label == step_labels.NEEDED for label in labels])
    print(f"{len(chains)} chains, {len(labels)} labelled steps, {needed.sum()} needed")
    print("| quantity | AUC | inside a chain | " + " | ".join(f"against {kind}" for kind in kinds) + " |")
    print("|---|---|---|" + "---|" * len(kinds))
    for name, values in all_figures.items():
        value, each = np.array(values), []
        for kind in kinds:
            some = needed | np.array([label == kind for label in labels])
            each.append(f"{auc(value[some], needed[some]):.2f}")
        print(f"| {name} | {auc(value, needed):.3f} | {np.mean(inside[name]):.3f} | {' | '.join(each)} |")


if __name__ == "__main__":
    main()

"""What the helpers of a model do with chains: chunks, scores, and whether scores tell needed steps from needless ones.

    jaxreason evaluate MODEL --data gsm8k.jsonl --output chains.json      (writes chains.jsonl beside it)
    python benchmarks/helpers.py MODEL chains.jsonl --rows 16 --output found.json

MODEL is a checkpoint or a run's folder; `--section.field=value` overrides its configuration. `-` takes the chunks and
scores that a run's evaluation has written, such as RUN/evaluation/step_000000.jsonl. Chains that were cut are left out.
Steps are labelled by rule (`step_labels.py`), each chunk by its steps: needed if one of them is, needless if all are.
AUC is how often a needed chunk has the larger score than a needless one.
"""

import argparse
import itertools
import json
import sys
from pathlib import Path

import jax
import numpy as np
import step_labels
from step_labels import auc

from jaxreason.agents import explain
from jaxreason.agents.boundaries import starts
from jaxreason.data.problems import Problem
from jaxreason.evaluation import stored
from jaxreason.parallel.mesh import on_mesh
from jaxreason.tasks.opening import task_of
from jaxreason.tasks.reading import find_reasoning

COLOURS = {5: "\033[1;32m", 4: "\033[32m", 3: "\033[33m", 2: "\033[31m", 1: "\033[2;31m"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("chains", type=Path)
    parser.add_argument("--count", type=int, default=64, help="finished chains to take")
    parser.add_argument("--rows", type=int, default=16, help="chains asked about at a time")
    parser.add_argument("--step", type=int, default=None, help="of a run; 0: its start")
    parser.add_argument("--output", type=Path, help="JSON file for chunks, labels and scores")
    parser.add_argument("--show", type=int, default=0, help="chains to print in colour")
    arguments, overrides = parser.parse_known_args()
    chains = read_chains(arguments.chains, arguments.count, split=arguments.model == "-")
    if not chains:
        parser.error(f"{arguments.chains}: expected answers of `jaxreason evaluate`, got none that finished")
    if arguments.model == "-":
        found = [as_written(chain) for chain in chains]
    else:
        found = ask(stored.open_place(arguments.model, overrides), chains, arguments.rows, arguments.step)
    for row in found:
        row["labels"] = chunk_labels(row)
    if arguments.output:
        arguments.output.write_text(json.dumps(found, ensure_ascii=False, indent=1))
    for line in summary(found):
        print(line)
    for row in found[: arguments.show]:
        show(row)


def read_chains(file: Path, count: int, *, split: bool) -> list[dict]:
    """The first finished answers of an evaluation, question and text; `split`: of those that helpers have split."""
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return [row for row in rows if row.get("finish_reason") == "stop" and (row.get("chunks") or not split)][:count]


def as_written(chain: dict) -> dict:
    """A chain that was split when it was evaluated, as `ask` gives it."""
    text, y = chain["resps"][0][0], "".join(chain["chunks"])
    parts = {"question": chain["doc"]["question"], "y": y, "answer": text[text.find(y) + len(y) :]}
    return chain | parts | {"tokens": chain["n_tokens"]}


def ask(place: stored.Place, chains: list[dict], rows: int, step: int | None) -> list[dict]:
    """What the helpers say of each chain, with the chain's parts."""
    config, tok, task = place.config, place.tokenizer, task_of(place.config.data)
    texts = [chain["resps"][0][0] for chain in chains]
    problems = [Problem(c["doc_id"], c["doc"]["question"], c["target"]) for c in chains]
    with on_mesh(config, lambda line: print(line, file=sys.stderr)):
        params, _ = stored.open_policy(place, step)
        ids = tok.encode_batch(texts)
        found = explain.explain(params, problems, ids, jax.random.key(0), config, tok, rows=rows)
    return [
        fields | {"question": chain["doc"]["question"], "y": (y := find_reasoning(row, tok, task.read).text)}
        | {"answer": text[text.find(y) + len(y) :], "tokens": len(row)}
        for fields, chain, text, row in zip(found, chains, texts, ids, strict=True)
    ]  # fmt: skip


def chunk_labels(row: dict) -> list[str]:
    """The label of each chunk, from those of its steps."""
    y = row["y"]
    borders = [0, *(at for at, _ in starts(y)), len(y)]
    steps = [y[a:b] for a, b in itertools.pairwise(borders)]
    names = step_labels.label(row["question"], steps, row["answer"])
    result, at = [], 0
    for chunk in row["chunks"]:
        inside = {name for name, start in zip(names, borders, strict=False) if at <= start < at + len(chunk)}
        needless = inside and inside <= set(step_labels.NEEDLESS)
        result.append("needed" if step_labels.NEEDED in inside else "needless" if needless else "")
        at += len(chunk)
    return result


def summary(found: list[dict]) -> list[str]:
    """The figures, a line each."""
    asked = [row for row in found if row["segment_cause"]]
    valid = [row for row in asked if row["scores"] and row["score_cause"] == "ok"]
    counts = np.array([len(row["chunks"]) for row in asked])
    scores, labels = (np.array([x for row in valid for x in row[name]]) for name in ("scores", "labels"))
    lengths = np.concatenate([row["chunk_lengths"] for row in valid])
    places = np.concatenate([np.arange(len(row["scores"])) / max(1, len(row["scores"]) - 1) for row in valid])
    spread = [np.std(row["scores"]) for row in valid if len(row["scores"]) > 1] or [0.0]
    marked = labels != ""
    needed = labels[marked] == "needed"
    shares = " ".join(f"{s}: {np.mean(scores == s):.2f}" for s in range(1, 6))
    return [
        f"{len(asked)} chains, split validly {np.mean([r['segment_cause'] == 'ok' for r in asked]):.2f}, "
        f"scored validly {np.mean([r['score_cause'] == 'ok' for r in asked]):.2f}",
        f"chunks a chain {counts.mean():.1f} ({counts.min()}-{counts.max()}), one chunk in {np.mean(counts == 1):.2f} "
        f"of the chains, {lengths.mean():.1f} tokens a chunk",
        f"scores {scores.mean():.2f} on average, {shares}; standard deviation in a chain "
        f"{np.mean(spread):.2f}, all alike in {np.mean([s == 0 for s in spread]):.2f} of the chains",
        f"correlation of score and place {correlation(scores, places):.2f}, of score and length "
        f"{correlation(scores, lengths):.2f}",
        f"AUC {auc(scores[marked], needed):.3f} ({needed.sum()} needed, {(~needed).sum()} needless); of the place "
        f"{auc(places[marked], needed):.3f}, of the length {auc(lengths[marked], needed):.3f}",
        f"mean score of needed chunks {scores[labels == 'needed'].mean():.2f}, of needless ones "
        f"{scores[labels == 'needless'].mean():.2f}",
    ]


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """nan where one of them does not vary."""
    return float(np.corrcoef(a, b)[0, 1]) if a.std() and b.std() else float("nan")


def show(row: dict) -> None:
    """One chain in the colours of its scores."""
    print(f"\n{row['question']}")
    for chunk, score, label in zip(row["chunks"], row["scores"], row["labels"], strict=True):
        print(f"{COLOURS.get(score, '')}[{score}]\033[0m {label:8} {chunk.strip()!r}")


if __name__ == "__main__":
    main()

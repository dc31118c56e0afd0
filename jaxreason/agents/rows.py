"""What is written down of a completion, and of its chunks: the rows of samples/ and of evaluation/.

Names are lm-evaluation-harness' where it has one. All texts can be encoded. Host code.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxreason.agents.alignment import Scoring, Segmentation
from jaxreason.data.problems import Problem
from jaxreason.data.tokenizer import Tokenizer, readable
from jaxreason.grading.pool import Grades
from jaxreason.tasks.reading import Reasoning
from jaxreason.types import HostRollout


def counted_right(rollout: HostRollout, grades: Grades, *, require_eos: bool) -> np.ndarray:
    """Bool [P G]: which completions count as right, in tables, rows and rewards alike.

    Args:
      require_eos: a completion that was cut at the limit is wrong, whatever stands in it.
    """
    return grades.correct.reshape(rollout.finished.shape) & (rollout.finished | (not require_eos))


def completion_rows(
    problems: Sequence[Problem],
    rollout: HostRollout,
    reasonings: Sequence[Reasoning],
    grades: Grades,
    tokenizer: Tokenizer,
    *,
    require_eos: bool,
) -> list[dict[str, Any]]:
    """A row for every completion of the first problems of a batch, in the order P, G.

    Args:
      problems: those to write down; the others may hold those of the whole batch.
      require_eos: as in `counted_right`, which decides `exact_match`.
    """
    right_PG = counted_right(rollout, grades, require_eos=require_eos)
    length_PG, finished_PG = rollout.length, rollout.finished
    G = length_PG.shape[1]
    texts = tokenizer.decode_batch(rollout.completion_ids[: len(problems) * G])
    return [
        {
            "doc_id": problems[n // G].id,
            "doc": {
                "question": problems[n // G].question,
                "answer": problems[n // G].answer,
                "source": problems[n // G].source,
            },
            "target": problems[n // G].answer,
            "sample_index": n % G,
            "resps": [[text]],
            "filtered_resps": [None if (answer := reasonings[n].answer) is None else readable(answer)],
            "exact_match": int(right_PG[n // G, n % G]),
            "grader_status": grades.status[n],
            "n_tokens": int(length_PG[n // G, n % G]),
            "finish_reason": "stop" if finished_PG[n // G, n % G] else "length",
        }
        for n, text in enumerate(texts)
    ]


def chunk_fields(segmentation: Segmentation, scoring: Scoring, n: int) -> dict[str, Any]:
    """What the helpers said of row n (order P, G), as fields of its row.

    A cause is "" where a helper was not asked. Without valid chunks the lists are empty; without valid scores theirs
    are 0.
    """
    K = segmentation.chunks.mask.shape[-1]
    mask_K, length_K, value_K = (
        np.asarray(x).reshape(-1, K)[n]
        for x in (segmentation.chunks.mask, segmentation.chunks.length, scoring.scores.value)
    )
    k = int(mask_K.sum())
    return {
        "segment_cause": segmentation.causes[n],
        "score_cause": scoring.causes[n],
        "chunks": [readable(chunk) for chunk in segmentation.texts[n]],
        "chunk_lengths": length_K[:k].tolist(),
        "scores": value_K[:k].tolist(),
    }

"""Parts of a run's folder, and a page as a browser sees it."""

import json
from html.parser import HTMLParser

from jaxreason.report import write_report

EVIL = '</pre><script>alert(1)</script><img src=x onerror="alert(2)">&amp;\u202e\x00'
SOURCES = ("level1", "level2")


class Page(HTMLParser):
    """What a browser would see: elements with attributes, and the text of each table cell."""

    def __init__(self, text: str):
        super().__init__()
        self.elements, self.cells, self._cell = [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag in ("td", "th"):
            self.cells.append("")
            self._cell = len(self.cells) - 1
        elif tag == "small" and self._cell is not None:
            self.cells[self._cell] += " | "

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._cell = None

    def handle_data(self, data):
        if self._cell is not None:
            self.cells[self._cell] += data

    def all(self, tag, **attributes):
        return [a for t, a in self.elements if t == tag and all(a.get(k) == v for k, v in attributes.items())]


def figures(accuracy: float, tokens: float) -> dict:
    return {
        "problems": 4,
        "samples": 1,
        "accuracy": accuracy,
        "accuracy_stderr": 0.05,
        "accuracy_low": accuracy - 0.11,
        "accuracy_high": accuracy + 0.09,
        "mean_tokens": tokens,
        "mean_tokens_stderr": 2.0,
        "mean_tokens_correct": tokens - 7.3,
        "mean_tokens_wrong": None,
        "truncation_rate": 0.017,
        "needless_share": 0.4,
        "budgets": {"80": accuracy / 2, "160": accuracy},
    }


def table(accuracy: float, tokens: float) -> dict:
    sources = {name: figures(accuracy - 0.1, tokens + 3.0) for name in SOURCES}
    return figures(accuracy, tokens) | {
        "by_source": sources,
        "greedy": figures(accuracy + 0.06, tokens - 9.0) | {"by_source": sources},
    }


def estimate(value: float, half: float) -> dict:
    return {"value": value, "stderr": half / 1.96, "low": value - half, "high": value + half}


def completion(number: int, text: str, **more) -> dict:
    return {
        "doc_id": f"problem-{number}",
        "doc": {"question": f"what is {number}?", "source": SOURCES[number % 2]},
        "target": str(number),
        "sample_index": 0,
        "resps": [[text]],
        "filtered_resps": [str(number)],
        "exact_match": number % 2,
        "n_tokens": 10 + number,
        "finish_reason": "stop",
    } | more


def metric_row(step: int) -> dict:
    shares = {f"score/share_{s}": 0.2 for s in range(1, 6)}
    return shares | {
        "step": step,
        "reason/accuracy": 0.5 + 0.01 * step,
        "reason/completions/mean_length": 90.0 - step,
        "reason/entropy": 0.3,
        "segment/chunks": 6.0,
        "segment/valid": 1.0,
        "score/mean": 3.0,
        "score/live_minus_frozen": -0.1 + 0.02 * step,
        "reason/reward": 0.4,
        "reason/rewards/penalty/mean": 0.2,
        "grad_norm": None if step == 2 else 0.5,
        "time/reason": 90.0 if step == 1 else 1.0,
        "time/update": 2.0,
        "step_time": 3.0,
        "warnings": [f"step {step}: C: entropy is low"] if step == 7 else [],
    }


def lines(rows) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read(*folders) -> str:
    return write_report(folders).read_text(encoding="utf-8")

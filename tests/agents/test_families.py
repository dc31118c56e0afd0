"""The families of prompts: what ships is as it was, byte for byte; a user's own is checked before a run."""

import json
from pathlib import Path

import pytest

from jaxreason.agents import prompts, roles
from jaxreason.agents.families import family
from jaxreason.config import AgentsConfig
from jaxreason.config.doors import DoorError, DoorFailed
from jaxreason.data.problems import Problem
from jaxreason.tasks.base import Task
from tests.agents.stand_in import StandIn, always_thinking, qwen3

SNAPSHOT = json.loads(Path(__file__).with_name("prompts.json").read_text())
"""Prompts and limits made before families were objects of their own."""
QUESTIONS = ["{2}+3?", "What is é\udcc3?"]
YS = ["2+3=5\nso {5}\n", "a</seg>b"]
CHUNKS = [["2+3=5\n", "so {5}\n"], ["a"]]
OWN = """
class Terse:
    def segment(self, y, max_chunks):
        return f"Cut into at most {max_chunks} <seg>pieces</seg>:\\n{y}"

    def score(self, question, chunks):
        return f"{question or ''} <score>[1] 5</score>\\n" + "\\n--\\n".join(chunks)
"""


@pytest.fixture
def written(tmp_path):
    def write(text: str, name: str) -> str:
        file = tmp_path / f"own{len(list(tmp_path.iterdir()))}.py"
        file.write_text(text)
        return f"{file}:{name}"

    return write


@pytest.mark.parametrize("name", list(SNAPSHOT))
def test_what_ships_is_unchanged(name):
    """Catches a space too many, which a warm start has never shown and an old run was not trained on."""
    form, template, thinking, sees = name.split()
    config = AgentsConfig(prompts=form, thinking=thinking, scorer_sees_question=sees == "True", max_chunks=6)
    tokenizer = StandIn(template={"qwen3": qwen3, "always": always_thinking}[template])
    problems = [Problem(str(i), question, "5") for i, question in enumerate(QUESTIONS)]
    found = {
        "reason": prompts.render_reason(problems, Task(), config, tokenizer),
        "segment": prompts.render_segment(YS, config, tokenizer),
        "score": prompts.render_score(QUESTIONS, CHUNKS, config, tokenizer),
        "annotate": prompts.render_annotate(QUESTIONS, YS, config, tokenizer),
        "score_text": [prompts.score_text(values, config) for values in ([], [5], [5, 1, 3])],
        "segment_limit": roles.segment_limit([0, 1, 40, 400], config, tag_tokens=5).tolist(),
        "score_limit": roles.score_limit([0, 1, 6], config).tolist(),
    }
    assert found == SNAPSHOT[name]


def test_own_words_for_the_helpers(written):
    """What is left out is done as in `chat`; the reasoner is asked as its task says."""
    config, tokenizer = AgentsConfig(prompts=written(OWN, "Terse"), max_chunks=6), StandIn(template=qwen3)
    prompts.try_prompts(config)
    head, tail = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    assert prompts.render_segment(["a\nb"], config, tokenizer) == [
        f"{head}Cut into at most 6 <seg>pieces</seg>:\na\nb{tail}"
    ]
    assert prompts.render_score(["q?"], [["a\n", "b"]], config, tokenizer) == [
        f"{head}q? <score>[1] 5</score>\na\n\n--\nb{tail}"
    ]
    chat = AgentsConfig(prompts="chat", max_chunks=6)
    assert prompts.render_annotate(["q"], ["a"], config, tokenizer) == prompts.render_annotate(
        ["q"], ["a"], chat, tokenizer
    )
    assert prompts.score_text([5, 1], config) == prompts.score_text([5, 1], chat)
    assert roles.segment_limit(40, config) == roles.segment_limit(40, chat)


def test_a_subclass_keeps_what_its_family_does(written):
    text = (
        "from jaxreason.agents.families import Plain\n\n"
        "class Mine(Plain):\n    def segment(self, y, max_chunks):\n        return f'<seg> </seg>\\n{y}'\n"
    )
    config = AgentsConfig(prompts=written(text, "Mine"))
    assert prompts.render_segment(["a"], config, StandIn()) == ["<seg> </seg>\na\n\nAnswer:\n"]
    assert not family(config.prompts).conversational


def _class(body: str) -> str:
    return f"class A:\n    def segment(self, y, max_chunks):\n        {body}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (_class("return 'Cut it into <seg> and </seg>'"), "segment: expected the reasoning y in the prompt as it is"),
        (_class("return f'<seg></seg>{y.upper()}'"), "segment: expected the reasoning y in the prompt as it is"),
        (_class("return f'Cut this: {y}'"), "segment: expected the tags <seg> </seg> in the prompt"),
        (_class("return f'<seg></seg>{y}{y}'"), "segment: expected the text it is about once in the prompt"),
        (_class("return [y]"), "segment: expected the text of a prompt, got ['3+5=8"),
        (_class("return y.missing"), "segment: it raised AttributeError: 'str' object has no attribute 'missing'"),
        (
            "class A:\n    def score(self, question, chunks):\n        return chunks[0] + chunks[2]",
            "score: expected chunk 2 of 3 in the prompt as it is",
        ),
        (
            "class A:\n    def score(self, question, chunks):\n        return '\\n'.join(reversed(chunks))",
            "score: expected chunk 2 of 3 in the prompt as it is",
        ),
        ("class A:\n    def segment(self, y): pass\n", "expected segment(y, max_chunks), got segment(y)"),
        ("class A: pass\n", "expected any of segment, score, annotate, got A with none of them"),
    ],
)
def test_a_prompt_that_the_parser_could_not_use_is_refused_in_one_line(written, text, message):
    """Every answer of a helper would be invalid, which looks like a model that cannot follow instructions."""
    with pytest.raises(DoorError, match=r"^agents.prompts: .*own\d.py:A") as raised:
        prompts.try_prompts(AgentsConfig(prompts=written(text, "A")))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_prompt_that_fails_in_mid_run_names_its_file(written):
    """So that the run is saved, and may be gone on with once the file is mended."""
    name = written(_class("return f'<seg></seg>{y}' if len(y) > 3 else ''"), "A")
    prompts.try_prompts(AgentsConfig(prompts=name))
    with pytest.raises(DoorFailed, match="the reasoning y") as raised:
        prompts.render_segment(["ab"], AgentsConfig(prompts=name), StandIn(template=qwen3))
    assert raised.value.file == name.removesuffix(":A")


def test_a_misspelt_family():
    with pytest.raises(ValueError, match=r"agents.prompts: expected marks, chat, plain, or `package.module:name`"):
        AgentsConfig(prompts="chats")

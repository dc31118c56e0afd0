"""Prompts through the templates of released models, rendered by the tokenizer that training uses, letter for letter.

Each class treats thinking in its own way; a helper that thinks, or a thought that is opened twice, shows here.
"""

import pytest

from jaxreason.agents import prompts
from jaxreason.agents.families import starts_inside_think
from jaxreason.config import AgentsConfig
from jaxreason.data import tokenizer as tokenizers_room
from tests.agents.stand_in import asked as ask
from tests.released import KINDS, write_tokenizer

CONFIG = AgentsConfig(prompts="chat", max_chunks=8)
USER, END, ASSISTANT = "<|im_start|>user\n", "<|im_end|>\n", "<|im_start|>assistant\n"
R1_USER = "<｜begin▁of▁sentence｜><｜User｜>"
EMPTY = "<think>\n\n</think>\n\n"
SHAPES = {  # kind: what stands before the words, and behind them for the reasoner, a reasoner told not to, a helper
    "qwen3": (USER, END + ASSISTANT, END + ASSISTANT + EMPTY, END + ASSISTANT + EMPTY),
    "qwen3_instruct": (USER, END + ASSISTANT, END + ASSISTANT, END + ASSISTANT),
    "qwen3_thinking": (USER, END + ASSISTANT + "<think>\n", END + ASSISTANT + EMPTY, END + ASSISTANT + EMPTY),
    "r1_distill": (R1_USER, "<｜Assistant｜><think>\n", "<｜Assistant｜>" + EMPTY, "<｜Assistant｜>" + EMPTY),
}


@pytest.fixture(scope="module", params=list(SHAPES))
def released(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    write_tokenizer(folder, request.param)
    return request.param, tokenizers_room.load(folder)


def test_every_role_by_hand(released):
    """The reasoner keeps its model's default; no helper thinks."""
    kind, tokenizer = released
    before, reasoner, thoughtless, helper = SHAPES[kind]
    asked = ask("{2}+3?", CONFIG, tokenizer)
    assert asked == (
        f"{before}{{2}}+3?\n\nPlease reason step by step, and put your final answer within \\boxed{{}}.{reasoner}"
    )
    quick = ask("{2}+3?", AgentsConfig(prompts="chat", thinking="off"), tokenizer)
    assert quick == asked.removesuffix(reasoner) + thoughtless
    (asked,) = prompts.render_segment(["2+3=5\nso 5"], CONFIG, tokenizer)
    assert asked.startswith(f"{before}Split the reasoning below into consecutive chunks")
    assert asked.endswith(f"\n\nReasoning:\n2+3=5\nso 5{helper}")
    (asked,) = prompts.render_score(["2+3?"], [["2+3=5\n", "so 5"]], CONFIG, tokenizer)
    assert asked.startswith(f"{before}Question:\n2+3?\n\nReasoning, in 2 numbered chunks:\n[1] 2+3=5\n[2] so 5\n\n")
    assert asked.endswith(f"<score>[1] 5 [2] 1</score>{helper}")


def test_the_place_of_the_completion_is_read_from_the_prompt(released):
    """An answer that begins inside a thought is told from one that doesn't by the prompt, never by the model's name."""
    kind, tokenizer = released
    asked = ask("2+3?", CONFIG, tokenizer)
    assert starts_inside_think(asked) == SHAPES[kind][1].endswith("<think>\n")


def test_a_role_mark_is_one_token_and_nothing_is_added(released):
    """`<|im_start|>` taken apart, or a second beginning of the text, is a prompt the model has never seen."""
    kind, tokenizer = released
    asked = ask("2+3?", CONFIG, tokenizer)
    (ids,) = tokenizer.encode_batch([asked])
    assert b"".join(map(tokenizer.token_bytes, ids)).decode() == asked
    special = {"<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"} if kind == "r1_distill" else {"<|im_start|>"}
    for mark in special:
        (one,) = tokenizer.encode_batch([mark])
        assert len(one) == 1
        assert ids.count(one[0]) == asked.count(mark) >= 1


def test_whatever_ends_a_released_answer_ends_ours(tmp_path):
    """Qwen3's generation_config.json names two; a sampler that knows one would run on past the other."""
    write_tokenizer(tmp_path, "qwen3")
    tokenizer = tokenizers_room.load(tmp_path)
    named = tokenizer.encode_batch(["<|im_end|>", "<|endoftext|>"])
    assert list(tokenizer.eos_ids) == [ids[0] for ids in named]
    assert tokenizer.eos_id == named[0][0]
    assert tokenizer.pad_id == named[1][0]


def test_a_base_model_is_asked_in_plain_text(tmp_path):
    """It has no template: `chat` is refused with a remedy, `plain` works."""
    assert KINDS["qwen3_base"].template is None
    write_tokenizer(tmp_path, "qwen3_base")
    tokenizer = tokenizers_room.load(tmp_path)
    with pytest.raises(ValueError, match=r"chat template.*agents\.prompts"):
        ask("2+3?", CONFIG, tokenizer)
    asked = ask("2+3?", AgentsConfig(prompts="plain"), tokenizer)
    assert asked.startswith("2+3?\n\nPlease reason")

"""Tokenizers: exact bytes, exact round trips, nothing added, and refusal of whatever can't promise that."""

import json
import re
import unicodedata

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from jaxreason.data.tokenizer import CANARY, load, train_sentencepiece
from jaxreason.tasks.calculator.demonstrations import SYMBOLS, demonstrate
from jaxreason.tasks.calculator.problems import generate

QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if messages[0]['role'] == 'bad' %}{{ raise_exception('no such\nrole') }}{% endif %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


def demonstrations(count=300):
    rng = np.random.default_rng(0)
    return [
        f"{p.question}\n{''.join(piece.text for piece in demonstrate(p, rng))}"
        for p in generate(count, seed=0, split="demo")
    ]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A sentencepiece model of the built-in task."""
    return train_sentencepiece(demonstrations(), tmp_path_factory.mktemp("sp"), vocab_size=420, symbols=SYMBOLS)


def write_byte_level(folder, *, decoder=None, split=QWEN_SPLIT, config=()):
    """A byte-level BPE as Qwen's files describe one."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(split), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoder or decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([CANARY, "数学的答案 wait wait now the answer is"] * 20, trainer)
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<｜begin▁of▁sentence｜>"])
    tokenizer.add_tokens([tokenizers.AddedToken("<think>"), tokenizers.AddedToken("</think>")])
    # Whoever encodes must ask for nothing to be added: this would put <|endoftext|> in front.
    first = tokenizer.token_to_id("<|endoftext|>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", first)]
    )
    tokenizer.enable_truncation(max_length=8)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "Qwen2Tokenizer",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": True,
        "chat_template": TEMPLATE,
        **dict(config),
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return tokenizer


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bpe")
    raw = write_byte_level(folder)
    ids = [raw.token_to_id("<|im_end|>"), raw.token_to_id("<|endoftext|>")]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ids}))
    return load(folder)


@pytest.fixture(scope="module", params=["small", "byte_level"])
def tokenizer(request):
    return request.getfixturevalue(request.param)


# U+2581 is how sentencepiece writes a space. Unassigned characters may be normalised differently by newer tables.
characters = st.characters(exclude_categories=["Cs", "Cn"], exclude_characters="\u2581")
snippets = st.sampled_from(
    ["wait 3+5=1\n", "\\boxed{2}", "  ", "<think>", "</s>", "<0x41>", "数学", "👍🏽", "é", "\r\n"]
)
texts = st.lists(st.text(characters, max_size=8) | snippets, max_size=8).map("".join)


@given(texts)
def test_token_bytes_joined_are_the_text(tokenizer, text):
    """Would catch a token whose bytes are wrong: chunk lengths and constrained decoding count on them."""
    text = unicodedata.normalize("NFC", text)
    (ids,) = tokenizer.encode_batch([text])
    assert b"".join(map(tokenizer.token_bytes, ids)) == text.encode()
    assert tokenizer.decode_batch([ids]) == [text]
    assert all(0 <= i < tokenizer.vocab_size for i in ids)


@given(texts)
def test_byte_level_is_what_its_file_says(byte_level, text):
    """Would catch ids changed by the wrapper, and bytes of ours that the library's decoder disagrees with."""
    raw = tokenizers.Tokenizer.from_file(f"{byte_level.path}/tokenizer.json")
    raw.no_truncation()
    ids = raw.encode(text, add_special_tokens=False).ids
    assert byte_level.encode_batch([text]) == [ids]
    assert byte_level.decode_batch([ids]) == [raw.decode(ids, skip_special_tokens=False)]


@given(texts.filter(lambda text: not re.search("<(s|/s|pad|unk)>", text)))
def test_sentencepiece_is_what_its_file_says(small, text):
    """Would catch a conversion that cuts differently from sentencepiece itself.

    Left out: texts of control tokens, which sentencepiece never makes of text and the wrapper does.
    """
    import sentencepiece

    raw = sentencepiece.SentencePieceProcessor(model_file=f"{small.path}/tokenizer.model")
    assert small.encode_batch([text]) == [raw.encode(text)]


def test_nothing_is_added_cut_or_cleaned(tokenizer):
    """Would catch a begin token, the file's own truncation to 8 tokens, or spaces removed before a full stop."""
    text = "now , 1 2 3 4 5 6 7 8 9 do n't ."
    batch = tokenizer.encode_batch([text, "", "a"])
    assert tokenizer.decode_batch(batch) == [text, "", "a"]
    assert batch[1] == []
    assert tokenizer.encode_batch([]) == []
    assert tokenizer.decode_batch([]) == []


def test_special_tokens_are_text(small, byte_level):
    """Would catch `skip_special_tokens`: a sampled mark would vanish and the text differ from its tokens."""
    assert byte_level.decode_batch([[byte_level.eos_id, byte_level.pad_id]]) == ["<|im_end|><|endoftext|>"]
    assert byte_level.encode_batch(["<|im_end|>"]) == [[byte_level.eos_id]]
    assert small.decode_batch([[small.eos_id, small.pad_id]]) == ["</s><pad>"]


def test_ids(small, byte_level):
    """Would catch an end-of-sequence id of generation_config.json that sampling would run past."""
    assert byte_level.eos_ids == (byte_level.eos_id, byte_level.pad_id)
    assert small.eos_ids == (small.eos_id,)
    assert len({small.pad_id, small.eos_id}) == 2
    raw = tokenizers.Tokenizer.from_file(f"{byte_level.path}/tokenizer.json")
    assert byte_level.vocab_size == max(raw.get_vocab().values()) + 1


def test_broken_utf8_padding_ids_and_negative_ids(small, byte_level):
    """Would catch a crash on half a character, on an id of the embedding's padding, or -1 read as the last token."""
    (ids,) = byte_level.encode_batch(["👍"])
    assert len(ids) > 1
    assert byte_level.decode_batch([ids[:1]]) == ["\ufffd"]
    assert small.decode_batch([[small.vocab_size + 5]]) == [""]
    with pytest.raises(ValueError, match="at least 0, got -1"):
        small.token_bytes(-1)


def test_the_built_in_task_is_cut_as_planned(small):
    """Would catch words in many pieces or digits that depend on their place: lengths are counted in these tokens."""
    line = "wait 1*4=4 4+6=3 3-1=2\n"
    assert [small.token_bytes(i).decode() for i in small.encode_batch([line])[0]] == [
        *("wait ", *"1*4=4", " ", *"4+6=3", " ", *"3-1=2", "\n")
    ]
    pieces = [small.token_bytes(i).decode() for i in small.encode_batch(["so now it is 1\n\\boxed{2}"])[0]]
    assert pieces == ["so ", "now ", "it ", "is ", "1", "\n", "\\boxed{", "2", "}"]


def test_training_is_deterministic_and_loads_again(small, tmp_path):
    """Would catch a resumed run whose own tokenizer differs, or console noise from the trainer."""
    again = train_sentencepiece(demonstrations(), tmp_path / "new" / "folder", vocab_size=420, symbols=SYMBOLS)
    assert again.fingerprint == small.fingerprint == load(small.path).fingerprint
    assert load(small.path) == small
    other = train_sentencepiece(demonstrations(30), tmp_path / "other", vocab_size=420, symbols=SYMBOLS)
    assert other.fingerprint != small.fingerprint


def test_training_is_silent(tmp_path, capfd):
    """Would catch pages of trainer log on the terminal."""
    train_sentencepiece(demonstrations(30), tmp_path, vocab_size=400, symbols=SYMBOLS)
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_training_refusals(tmp_path):
    """Would catch a C++ error of many lines, or a symbol that silently is no single token."""
    for arguments, message in (
        ({"texts": []}, "texts: expected some text"),
        ({"symbols": ["so now"]}, "symbols: expected texts without spaces, got 'so now'"),
        ({"vocab_size": 100}, "tokenizer.vocab_size: expected room for .* got 100"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            train_sentencepiece(**{"texts": ["a b"], "folder": tmp_path, "vocab_size": 300, "symbols": [], **arguments})
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "texts",
    [
        ["小明有3个苹果,又买了5个,一共有多少个?", "一箱有12瓶,100箱有多少瓶?"],
        ["3⊕4⊗2", "⊖7⊕1"],
        ["x"],
        [*["数学的答案是" * 200] * 20, "one space"],  # so rare that sentencepiece would leave it out
    ],
)
def test_texts_without_spaces_can_be_trained_on(tmp_path, texts):
    """A space that is no piece comes back from its bytes as U+2581, and the run was refused before its first step."""
    tokenizer = train_sentencepiece(texts, tmp_path, vocab_size=400, symbols=["<|reason|>"])
    asked = [f"<|reason|>{texts[0]} so 1 2\n", *texts]
    ids = tokenizer.encode_batch(asked)
    assert tokenizer.decode_batch(ids) == asked
    assert len(tokenizer.encode_batch([" "])[0]) == 1


LIST_ONLY = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for part in m.content %}{% if part.type == 'text' %}"
    "{{ part.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
)


def test_a_template_that_loses_the_question_is_refused(tmp_path):
    """Templates of models that see images may take content for a list: every prompt came out without its question."""
    write_byte_level(tmp_path, config={"chat_template": LIST_ONLY})
    with pytest.raises(ValueError, match="expected a chat template that writes a user's content") as caught:
        load(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'tokenizer_config.json'}: ")
    assert "agents.prompts=plain" in str(caught.value)
    assert "\n" not in str(caught.value)
    (tmp_path / "chat_template.jinja").write_text("{{ messages[0].content | upper }}")
    with pytest.raises(ValueError, match=r"chat_template.jinja: expected a chat template"):
        load(tmp_path)
    (tmp_path / "chat_template.jinja").write_text("{{ raise_exception('never') }}")
    with pytest.raises(ValueError, match="the chat template failed"):  # told when it is used
        load(tmp_path).render_chat([{"role": "user", "content": "1+1?"}])


def test_chat_template(byte_level, small):
    """Would catch a rendered prompt without its opening for the answer, or an option that isn't passed on."""
    messages = [{"role": "user", "content": "1+1?"}]
    text = "<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n"
    assert byte_level.render_chat(messages) == text
    assert byte_level.render_chat(messages, enable_thinking=False) == text + "<think>\n\n</think>\n\n"
    with pytest.raises(ValueError, match=r"tokenizer_config.json: the chat template failed .* no such role") as caught:
        byte_level.render_chat([{"role": "bad", "content": ""}])
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="expected a tokenizer with a chat template"):
        small.render_chat(messages)


def test_refused_tokenizers(tmp_path):
    """Would catch training on a tokenizer that loses text: found at the start, not in the scores."""
    with pytest.raises(ValueError, match="got neither"):
        load(tmp_path)
    write_byte_level(tmp_path, decoder=decoders.WordPiece())
    with pytest.raises(ValueError, match="byte-level BPE or sentencepiece"):
        load(tmp_path)
    write_byte_level(tmp_path, config={"eos_token": None})
    with pytest.raises(ValueError, match="eos_token"):
        load(tmp_path)
    raw = write_byte_level(tmp_path)
    raw.normalizer = normalizers.Lowercase()
    raw.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match="give the text back exactly"):
        load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer.json: expected a tokenizer") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "tokenizer.model").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"tokenizer.model: expected a sentencepiece model"):
        load(tmp_path)


def test_missing_pad_token_falls_back_on_the_end(tmp_path):
    """Would catch pad None in an integer array."""
    write_byte_level(tmp_path, config={"pad_token": None})
    tokenizer = load(tmp_path)
    assert tokenizer.pad_id == tokenizer.eos_id

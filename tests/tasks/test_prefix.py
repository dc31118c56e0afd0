"""Where in a text the answer first stands, and what share of the tokens that took."""

import pytest

from jaxreason.tasks.prefix import chunk_end, prefix_share


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        ("first 12, so 12. Wait, check. But 12.", "12", "first 12, so 12."),
        ("Wait. Hmm, it is 7? Therefore 7", "7", "Wait. Hmm, it is 7?"),
        ("Letting x be 7, Butter 7 is 7", "7", "Letting x be 7, Butter 7 is 7"),
        ("a=1\nb=7\ncheck 7\n", "7", "a=1\nb=7\n"),
        ("no answer. Wait", "7", ""),
        ("17 and 7.5. Wait", "7", ""),
        ("anything", None, ""),
    ],
)
def test_the_chunk_that_first_holds_the_answer(text, answer, expected):
    """Catches a marker inside another word, a chunk cut at a marker before the answer, and a digit inside a number."""
    assert text[: chunk_end(text, answer)] == expected


@pytest.mark.parametrize(
    ("chunks", "lengths", "answer", "expected"),
    [
        (["2+2", "=4\n", "check 4", "yes"], [3, 2, 4, 1], "4", 0.5),
        (["4"], [7], "4", 1.0),
        (["1", "2 is 12"], [1, 3], "12", 1.0),
        (["2+2", "=5"], [2, 2], "4", None),
        ([], [], "4", None),
        (["4"], [0], "4", None),
        (["a"], [1], None, None),
    ],
)
def test_the_share_of_the_necessary_prefix(chunks, lengths, answer, expected):
    """By hand. Catches chunks counted in place of tokens, and an answer that only the border of two chunks spells."""
    assert prefix_share(chunks, lengths, answer) == expected

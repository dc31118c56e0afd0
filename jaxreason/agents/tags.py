"""The fixed symbols of prompts and answers. The parser knows the tags; the marks stand for whole instructions."""

REASON_MARK, SEGMENT_MARK, CHUNKS_MARK = "<|reason|>", "<|segment|>", "<|chunks|>"
SCORE_MARK, SCORES_MARK = "<|score|>", "<|scores|>"
OPEN, CLOSE = "<seg>", "</seg>"
SCORE_OPEN, SCORE_CLOSE = "<score>", "</score>"
DIGITS = ("1", "2", "3", "4", "5")

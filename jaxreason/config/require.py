"""The one form of a refusal."""


def require(ok: bool, field: str, expected: str, got: object) -> None:
    """Refuse a value that is out of range.

    Raises:
      ValueError: naming the field, what was expected and what was got.
    """
    if not ok:
        raise ValueError(f"{field}: expected {expected}, got {got!r}")

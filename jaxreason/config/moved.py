"""Keys that stand in another section than they once did, so that older files and run folders still open."""

MOVED = {
    "reward.target_tokens": "budget.target_tokens",
    "reward.target_reduction": "budget.target_reduction",
    "reward.target_steps": "budget.target_steps",
    "reward.contribution_share": "agents.contribution_share",
}
"""Old key -> the key that it is now."""
_SLOTS = "sampling.slots says how many completions are decoded at a time, and decides no token; leave the key out"
GONE = {
    "sampling.rollout_batches": _SLOTS,
    "agents.helper_batches": _SLOTS,
    "evaluation.batch_rows": _SLOTS,
}
"""Old key that nothing reads any more -> what there is in its place. In a file it is passed over."""


def renamed(content: dict) -> dict:
    """The sections of a file with every old key under its new name, or left out; `content` itself where there is none.

    >>> renamed({"reward": {"alpha": 1, "target_tokens": 60}})
    {'reward': {'alpha': 1}, 'budget': {'target_tokens': 60}}
    """
    old = [
        (section, key)
        for section, fields in content.items()
        if isinstance(fields, dict)
        for key in fields
        if f"{section}.{key}" in MOVED or f"{section}.{key}" in GONE
    ]
    if not old:
        return content
    result = {name: dict(fields) if isinstance(fields, dict) else fields for name, fields in content.items()}
    for section, key in old:
        value = result[section].pop(key)
        if new := MOVED.get(f"{section}.{key}"):
            to_section, to_key = new.split(".")
            result.setdefault(to_section, {})[to_key] = value
    return result

"""The length methods as loops over one completion after the other, in Python's floats.

Each takes the case and gives what every completion earns; `cost` and `keep` come by name where a method has them.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Group(NamedTuple):
    """The kept rows of one problem."""

    length: list[float]
    right: list[float]  # lengths of the right ones
    p: float
    mean: float


def group_of(case: dict[str, Any], p: int) -> Group:
    rows = [g for g in range(case["length"].shape[1]) if case["keep"][p, g]]
    length = [float(case["length"][p, g]) for g in rows]
    of_right = [float(case["length"][p, g]) for g in rows if case["right"][p, g]]
    n = len(rows)
    return Group(
        length=length,
        right=of_right,
        p=len(of_right) / n if n else 0.0,
        mean=sum(length) / n if n else 0.0,
    )


def variance(values: list[float]) -> float:
    centre = sum(values) / len(values)
    return sum((value - centre) ** 2 for value in values) / len(values)


def by_row(rule: Callable[..., float]) -> Callable[[dict[str, Any]], np.ndarray]:
    """A rule (group, length, right, case) -> reward, for every kept row; others are NaN: nobody reads them."""

    def all_rows(case: dict[str, Any]) -> np.ndarray:
        result = np.full(case["length"].shape, np.nan)
        for p, g in np.ndindex(*result.shape):
            if case["keep"][p, g]:
                group = group_of(case, p)
                result[p, g] = rule(
                    group, float(case["length"][p, g]), bool(case["right"][p, g]), case | {"at": (p, g)}
                )
        return result

    return all_rows


def _z(group: Group, length: float) -> float:
    spread = math.sqrt(variance(group.right))
    return (length - sum(group.right) / len(group.right)) / spread if spread else 0.0


def tlmre(group: Group, length: float, right: bool, case) -> float:
    return 1 - 0.1 / (1 + math.exp(-_z(group, length))) if right else 0.0


def group_zscore(group: Group, length: float, right: bool, case) -> float:
    return math.exp(-0.5 * _z(group, length)) if right else -1.0


def o1_pruner(group: Group, length: float, right: bool, case) -> float:
    return min(4.0, max(-2.0, group.mean / length - 1 + 2.0 * (right - group.p)))


def shorter_better(group: Group, length: float, right: bool, case) -> float:
    best = min(group.right) if group.right else group.mean
    return 2.0 * right - 0.001 * abs(length - best)


def dast(group: Group, length: float, right: bool, case) -> float:
    of_right = sum(group.right) / len(group.right) if group.right else 0.0
    budget = group.p * of_right + (1 - group.p) * case["limit"]
    x = (length - budget) / budget
    return max(-0.5 * x + 0.5, 0.1) if right else min(0.9 * x - 0.1, -0.1)


def alp_cost(group: Group, length: float, right: bool, case) -> float:
    return max(group.p, 1 / len(group.length)) * length / case["limit"]


def outcome(group: Group, length: float, right: bool, case) -> float:
    return float(right)


def linear_pass_rate(group: Group, length: float, right: bool, case) -> float:
    return right - 0.25 * group.p * length / max(group.length)


def gr3(group: Group, length: float, right: bool, case) -> float:
    return right / (1 + 0.33 * length / group.mean)


def drpo(group: Group, length: float, right: bool, case) -> float:
    n, wrong = len(group.length), len(group.length) - len(group.right)
    if not group.right or not wrong:
        return float(right)
    if not right:
        return -n / wrong
    weights = [math.exp((1 - other / case["limit"]) / 0.1) for other in group.right]
    return n * math.exp((1 - length / case["limit"]) / 0.1) / sum(weights)


def smart_thinker(group: Group, length: float, right: bool, case) -> float:
    if not group.right or group.p == 1 or not right:
        return float(right)
    m1, m2, v1, v2 = group.mean, sum(group.right) / len(group.right), variance(group.length), variance(group.right)
    low, high = min(group.length), max(group.length)
    if math.isclose(v1, v2, rel_tol=1e-6, abs_tol=1e-6):
        best = high if m2 > m1 + 1e-9 else low
    elif v2 > v1:
        best = low
    else:
        best = min(high, max(low, (v1 * m2 - v2 * m1) / (v1 - v2)))
    costs = [max(0.0, other - best) for other in group.right]
    above = max(costs) - sum(costs) / len(group.length)
    return 1.0 - ((1 - group.p) / above * max(0.0, length - best) if above > 0 else 0.0)


def gfpo_keep(case, *, by_efficiency: bool = False) -> np.ndarray:
    problems, rollouts = case["length"].shape
    result = np.zeros((problems, rollouts), bool)
    for p in range(problems):
        rows = [g for g in range(rollouts) if case["keep"][p, g]]

        def rank(g, p=p):
            return (by_efficiency and not case["right"][p, g], int(case["length"][p, g]))

        ordered = sorted(rank(g) for g in rows)
        stay = ordered[: max(2, round(0.5 * len(rows)))]
        for g in rows:
            result[p, g] = bool(stay) and rank(g) <= stay[-1]
    return result


def cosine(group: Group, length: float, right: bool, case) -> float:
    if not case["finished"][case["at"]]:
        return -10.0
    bend = (1 + math.cos(math.pi * min(length / case["limit"], 1))) / 2
    return 1 + bend if right else -10 * bend


def think_prune(group: Group, length: float, right: bool, case) -> float:
    stage = min(2, int(case["progress"] * 3))
    limit = (case["limit"], 0.75 * case["limit"], 0.5 * case["limit"])[stage]
    return float(right and length <= limit)


def dynamic_target(group_pass_rate: float, rollouts: int, table, limit: float, lowest: float = 0.25) -> float:
    band, least = 0, 1
    if group_pass_rate >= 2 / 3 - 1e-6:
        band, least = 2, max(1, 2 * rollouts // 3)
    elif group_pass_rate >= 1 / 3 - 1e-6:
        band, least = 1, max(1, rollouts // 3)
    for k in range(1, 17):
        if k / 16 >= lowest and table[band][k - 1] * least >= 1:
            return limit * k / 16
    return limit


def laser_d_dynamic(group: Group, length: float, right: bool, case) -> float:
    target = dynamic_target(group.p, case["length"].shape[1], case["coverage"], case["limit"])
    return 1 + 0.5 * (length <= target) if right else -0.5


def laser_de(group: Group, length: float, right: bool, case) -> float:
    target = dynamic_target(group.p, case["length"].shape[1], case["coverage"], case["limit"])
    if right:
        return laser_d_dynamic(group, length, right, case)
    return -0.5 + 0.5 * (length > target and not case["repeats"][case["at"]])


def hapo(group: Group, length: float, right: bool, case) -> float:
    history = float(case["history"][case["at"][0]])
    if not history:
        return float(right)
    r = math.cos(math.pi / 2 * min(length / history, 2.0))
    return 1 + max(-0.7, r) if right else min(0.0, r)


def l1_exact(group: Group, length: float, right: bool, case) -> float:
    asked = float(case["asked"][case["at"][0]])
    return right - (3e-4 * abs(asked - length) if asked else 0.0)


def l1_max(group: Group, length: float, right: bool, case) -> float:
    asked = float(case["asked"][case["at"][0]])
    return right * (min(1.0, max(0.0, 3e-4 * (asked - length) + 0.5)) if asked else 1.0)


def lc_r1(group: Group, length: float, right: bool, case) -> float:
    return right + (1 - length / max(group.right) if group.right else 0.0)


def lc_r1_closing(group: Group, length: float, right: bool, case) -> float:
    y, at = float(case["y"][case["at"]]), float(case["answer_at"][case["at"]])
    if not right or not y:
        return 0.0
    return 1 - at / y if at else -1.0


def decs(group: Group, length: float, right: bool, case) -> float:
    return 1.1 * right


def decs_needless(group: Group, length: float, right: bool, case) -> float:
    return right * (1 + 0.1 * (1 - length / case["limit"]))


REWARDS: dict[str, Callable[..., float]] = {
    "tlmre": tlmre, "group_zscore": group_zscore, "o1_pruner": o1_pruner, "shorter_better": shorter_better,
    "dast": dast, "alp": outcome, "linear_pass_rate": linear_pass_rate, "gr3": gr3, "drpo": drpo,
    "smart_thinker": smart_thinker, "gfpo": outcome, "cosine": cosine, "think_prune": think_prune,
    "laser_d_dynamic": laser_d_dynamic, "laser_de": laser_de, "hapo": hapo, "l1_exact": l1_exact, "l1_max": l1_max,
    "lc_r1": lc_r1, "decs": decs,
}  # fmt: skip
"""Method -> what it earns, under its default fields."""

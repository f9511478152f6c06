"""Say in words why some settings do not call, or rate otherwise, what others called: the first rule that does."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from features.decisions.config import DetectionConfig
from features.detectors.base import CORRELATION_BREAK, DATA_FAULT, KINDS, MARKET_SHOCK, VOLUME_SPIKE
from features.stages.peers import MARKET
from training.fold import Called

RESCALED = "rates of the day are rescaled differently"
RAISED = "another bar of it, or another shock, was raised"
UNEXPLAINED = "no one setting explains it"
SPIKE, SHOCK, BREAK, FAULT = (KINDS[i] for i in (VOLUME_SPIKE, MARKET_SHOCK, CORRELATION_BREAK, DATA_FAULT))


@dataclass(frozen=True, slots=True)
class Rules:
    """Settings as they judge: each kind's part of the budget among them (a shock has a budget of its own)."""

    config: DetectionConfig
    activity: str = "trades"
    shares: dict[str, float] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shares", {d.kind: d.share for d in self.config.detectors(self.activity)})

    def share(self, kind: str) -> float:
        """Give a kind's part of the budget; 1 where it has none to share."""
        return self.shares.get(kind, 1.0)

    def held_against(self, symbol: str) -> str:
        """Say whose move a symbol's is held against."""
        peers = self.config.peers
        return peers.names[peers.reference(symbol)]


@dataclass(frozen=True, slots=True)
class Case:
    """An anomaly that the settings `own` called, before settings `by`; `scale` is their factor on the day's rates."""

    found: Called
    own: Rules
    by: Rules
    scale: float

    @property
    def kind(self) -> str:
        """The kind it was called."""
        return self.found.line.kind

    @property
    def is_scored(self) -> bool:
        """Whether a detector of the symbol's own called it."""
        return self.kind not in (SHOCK, FAULT)

    @property
    def rate(self) -> float:
        """Its rate at the share its kind has here, on the other's scale."""
        share = self.by.share(self.kind)
        return self.found.line.rate * self.own.share(self.kind) / share if share > 0.0 else math.inf


def refusal(case: Case) -> str:
    """Say why an anomaly is none here."""
    return rule_against(case) or rest(case.kind, case.found.scale, case.scale)


def rest(kind: str, own: float, by: float) -> str:
    """Say what remains where no rule explains a difference; a shock's rate is the market's, and never rescaled."""
    if kind == SHOCK:
        return RAISED
    return UNEXPLAINED if own == by else RESCALED


def rule_against(case: Case) -> str:
    """Give the first rule that an anomaly does not pass here, empty where all let it pass.

    Examples
    --------
    >>> from features.decisions.config import DetectorRule
    >>> from training.lines import AnomalyLine
    >>> line = AnomalyLine("a", "AAPL", 0, 60_000, "price_move", 4.1, 1e-5, 0.022, "low", "e", "confirmed")
    >>> found = Called(line, direction=1.0, price=9.5, ratio=2.0, scale=1.0)
    >>> def against(**changed):
    ...     return rule_against(Case(found, Rules(DetectionConfig()), Rules(DetectionConfig(**changed)), 1.0))
    >>> against(budget=0.01)
    'rate 0.022 is above the budget 0.01'
    >>> against(rules={"price_move": DetectorRule(enabled=False)})
    'price_move is off'
    >>> against(rules={"price_move": DetectorRule(min_deviation=6)})
    'score 4.1 is below min_deviation 6'
    """
    return next((said for rule in _RULES for said in rule(case)), "")


def _switch(case: Case) -> Iterator[str]:
    if not case.by.config.rule(case.kind).enabled:
        yield f"{case.kind} is off"


def _deviation(case: Case) -> Iterator[str]:
    score, least = case.found.line.score, case.by.config.rule(case.kind).min_deviation
    if case.is_scored and score < least:
        yield f"score {score:.2g} is below min_deviation {least:g}"


def _side(case: Case) -> Iterator[str]:
    side = case.by.config.rule(case.kind).direction
    went = {1.0: "up", -1.0: "down"}.get(case.found.direction, "neither way")
    if case.is_scored and side not in ("both", went):
        yield f"it went {went}, {case.kind} counts {side} only"


def _spike(case: Case) -> Iterator[str]:
    own, by, found = case.own.config, case.by.config, case.found
    if case.kind != SPIKE:
        return
    if found.ratio < by.volume_min_ratio:
        yield f"activity {found.ratio:.2g} times normal is below min_ratio {by.volume_min_ratio:g}"
    elif own.volume_classic and not by.volume_classic and math.isclose(found.line.rate, own.budget * found.scale):
        yield "volume_spike is not classic"  # what was called whatever its rate counts as just within the budget


def _price(case: Case) -> Iterator[str]:
    price, least = case.found.price, case.by.config.min_price
    if case.kind != FAULT and price < least:
        yield f"price {price:g} is below min_price {least:g}"


def _budget(case: Case) -> Iterator[str]:
    share, budget = case.by.share(case.kind), case.by.config.budget
    at = "" if share == case.own.share(case.kind) else f" at share {share:g}"
    if share <= 0.0:
        yield f"{case.kind} has no share of the budget"
    elif case.rate > budget:
        yield f"rate {case.rate:.2g}{at} is above the budget {budget:g}"


def _reference(case: Case) -> Iterator[str]:
    if case.kind == BREAK:
        yield from _held_otherwise(case.found.line.symbol, case.own, case.by)


def _held_otherwise(symbol: str, own: Rules, by: Rules) -> Iterator[str]:
    here, there = by.held_against(symbol), own.held_against(symbol)
    if here != there:
        yield f"it is held against {here} move, not {there}"
    elif by.config.peers != own.config.peers and here != by.config.peers.names[MARKET]:
        yield f"{here} move is that of other members"


def _turnover(case: Case) -> Iterator[str]:
    """Blame the day's turnover, which no anomaly holds, where the rate would do."""
    least, budget = case.by.config.min_dollar_volume, case.by.config.budget
    would_do = case.rate * case.scale / case.found.scale <= budget
    if case.kind != FAULT and least > case.own.config.min_dollar_volume and would_do:
        yield f"it turned over less than min_dollar_volume {least:,.0f} that day"


_RULES: tuple[Callable[[Case], Iterator[str]], ...] = (
    _switch, _deviation, _side, _spike, _price, _budget, _reference, _turnover
)  # fmt: skip


def change(now: Called, then: Called, a: Rules, b: Rules) -> str:
    """Say why a bar that both settings call is of another kind, rate or severity under `b` than under `a`."""
    kinds = (now.line.kind, then.line.kind)
    if kinds[0] != kinds[1]:
        lost = rule_against(Case(now, a, b, then.scale))
        won = rule_against(Case(then, b, a, now.scale))
        if lost or won:
            return f"then: {lost}" if lost else f"now: {won}"
    return next(_shifts(now, then, a, b), rest(kinds[0], now.scale, then.scale))


def _shifts(now: Called, then: Called, a: Rules, b: Rules) -> Iterator[str]:
    """Give what moves a rate or a severity without refusing anything."""
    kinds = (now.line.kind, then.line.kind)
    for kind in dict.fromkeys(kinds):
        if a.share(kind) != b.share(kind):
            yield f"share of {kind} is {b.share(kind):g}, not {a.share(kind):g}"
    if BREAK in kinds:
        yield from _held_otherwise(now.line.symbol, a, b)
    if SPIKE in kinds and a.config.volume_classic != b.config.volume_classic:
        yield f"volume_spike is {'' if b.config.volume_classic else 'not '}classic"
    if is_same(now.line.rate, then.line.rate) and a.config.budget != b.config.budget:
        yield f"severity is told against the budget {b.config.budget:g}, not {a.config.budget:g}"


def is_same(a: float, b: float) -> bool:
    """Say whether two rates are the same; that of a rule is NaN."""
    return a == b or (math.isnan(a) and math.isnan(b))

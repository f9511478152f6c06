"""Hold two runs over the same bars side by side: what the settings in force call, and what others would."""

from dataclasses import dataclass

from features.block import BarBlock
from features.engine import Engine
from features.market.types import FaultBatch, Hole
from training.fold import Called, Folding
from training.lines import AnomalyLine
from training.reasons import Case, Rules, change, is_same, refusal

ADDED, GONE, CHANGED = "added", "gone", "changed"


@dataclass(frozen=True, slots=True)
class Difference:
    """A bar of which the runs say different things: `now` under the settings in force, `then` under the others.

    `reason` says of an added one why it is none now, of one that is gone why it is none then.
    """

    what: str
    now: AnomalyLine | None
    then: AnomalyLine | None
    reason: str

    @property
    def line(self) -> AnomalyLine:
        """The anomaly, as the others call it where both do."""
        found = self.then or self.now
        assert found is not None
        return found


class Comparison:
    """Folds a tape twice, block by block, and keeps what differs; the tape ends at `newest_ns`.

    `differences` are ordered by the time they were known, then symbol.
    """

    def __init__(self, now: Engine, then: Engine, newest_ns: int) -> None:
        self.differences: list[Difference] = []
        self._now: dict[str, Called] = {}
        self._then: dict[str, Called] = {}
        self.now = Folding(now, newest_ns, lambda c: self._now.__setitem__(c.line.id, c))
        self.then = Folding(then, newest_ns, lambda c: self._then.__setitem__(c.line.id, c))
        self._rules = Rules(now.symbols.config, now.shape.activity), Rules(then.symbols.config, then.shape.activity)

    def warm(self, block: BarBlock) -> None:
        """Fold history, of which nothing is called."""
        self.now.warm(block)
        self.then.warm(block)

    def miss(self, hole: Hole) -> None:
        """Learn of a hole between the blocks."""
        self.now.miss(hole)
        self.then.miss(hole)

    def take(self, block: BarBlock, faults: FaultBatch | None = None) -> None:
        """Fold a block and compare what it shows: nothing later changes that."""
        self.now.take(block, faults)
        self.then.take(block, faults)
        lines = {i: found.line for i, found in (self._now | self._then).items()}
        for i in sorted(lines, key=lambda i: (lines[i].available_ts, lines[i].symbol)):
            found = self._compare(self._now.get(i), self._then.get(i))
            if found is not None:
                self.differences.append(found)
        self._now.clear()
        self._then.clear()

    def _compare(self, now: Called | None, then: Called | None) -> Difference | None:
        a, b = self._rules
        if now is None:
            assert then is not None
            return Difference(ADDED, None, then.line, refusal(Case(then, b, a, self.now.scale_at(then.line))))
        if then is None:
            return Difference(GONE, now.line, None, refusal(Case(now, a, b, self.then.scale_at(now.line))))
        one, two = now.line, then.line
        if one.kind == two.kind and one.severity == two.severity and is_same(one.rate, two.rate):
            return None
        return Difference(CHANGED, one, two, change(now, then, a, b))

    def of(self, what: str) -> list[Difference]:
        """Give the differences of one sort."""
        return [d for d in self.differences if d.what == what]

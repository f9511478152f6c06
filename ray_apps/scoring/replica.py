"""What runs in a replica of the scorer's deployment."""

from features.market.types import F64
from ray_apps.scoring.models import shipped
from ray_apps.scoring.scorer import Scored, Scorer, Served


class ScorerReplica:
    """Holds a `Scorer` with the shipped models: read here from their artifacts, never sent pickled."""

    def __init__(self) -> None:
        self.scorer = Scorer(shipped())

    async def models(self) -> tuple[Served, ...]:
        """Give what is served."""
        return self.scorer.models()

    async def score(self, model: str, x: F64) -> Scored:
        """Score rows of features [N, F]."""
        return await self.scorer.score(model, x)

"""How the API is, for whoever watches over its process: see `busbar.metrics.serve`."""

from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from busbar.api.context import Settings
from busbar.history import head_of

BEHIND_BLOCKS = 20
"""An index so far behind its node is not followed, or not fast enough."""


@dataclass(frozen=True, slots=True)
class Serving:
    """Whether the API is of use: index and node answer, and lie close together."""

    settings: Settings

    @property
    def stuck_s(self) -> float:
        """Nothing: what answers at all is not stuck, for requests wait for none but themselves."""
        return 0.0

    @property
    def problem(self) -> str | None:
        """Why its answers are none, or old."""
        try:
            with self.settings.engine.connect() as connection:
                head = head_of(connection)
        except SQLAlchemyError:
            return "the database does not answer"
        if head is None:
            return "nothing indexed yet"
        newest, _ = self.settings.beside()
        if newest is None:
            return "the node does not answer"
        behind = newest - head.number
        return f"the index is {behind} blocks behind" if behind > BEHIND_BLOCKS else None

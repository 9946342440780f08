"""State tables: which moves a noun allows. One table per noun, no scattered conditions."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from imis_core.errors import Refusal


@frozen
class StateTable:
    """The moves of a noun: for each state, the states it may go to."""

    noun: str
    moves: Mapping[str, tuple[str, ...]]

    def allows(self, current: str, wanted: str) -> bool:
        return wanted in self.moves[current]

    def before(self, wanted: str) -> tuple[str, ...]:
        """The states from which a noun may come into `wanted`."""
        return tuple(state for state, following in self.moves.items() if wanted in following)

    def refusal(self, name: str, current: str, wanted: str) -> Refusal:
        """`<noun>.wrong_state` for a move that the table does not list."""
        possible = ", ".join(self.moves[current]) or "none, it is final"
        return Refusal(
            f"{self.noun}.wrong_state",
            f"{name} is {current}; it cannot become {wanted} (possible from here: {possible})",
        )

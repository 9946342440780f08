"""The key set at an open address, for whoever checks cards: public keys are no secret."""

from __future__ import annotations

from typing import Final

from imis_core.cards.keys import KeyRing, key_set
from imis_core.routes import Answer, Route, RouteRequest


def _keys(request: RouteRequest) -> Answer:
    return Answer(body=key_set(KeyRing(request.app.keys).public()), headers={"Cache-Control": "public, max-age=3600"})


ROUTES: Final = (Route(name="cards.key_set", path="/cards/keys.json", handler=_keys, open=True),)

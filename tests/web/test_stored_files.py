"""Stored files over real HTTP: the bytes themselves, however large, for whoever asks for bytes."""

from __future__ import annotations

import base64
from typing import Any

from imis_core.attachments.store import FOLDER, path_of

BYTES = {"Accept": "application/octet-stream"}


def _stored(site: Any, content: bytes) -> Any:
    data = {"name": "bänk.xml", "media_type": "application/xml", "content": base64.b64encode(content).decode()}
    return site.app.do("attachments.add", data)


def test_a_file_comes_as_bytes_in_pieces(site: Any) -> None:
    """Asked for as bytes, small and large ones come as they were stored, each time; else as JSON with base64."""
    for content in (b"<a/>", b"0123456789" * 300_000):
        stored = _stored(site, content)
        address = f"/api/attachments/read?attachment={stored['id']}"
        for _ in range(2):
            answer = site.client.get(address, headers=BYTES)
            assert (answer.status_code, answer.content == content) == (200, True)
            assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''b%C3%A4nk.xml"
        told = site.client.get(address).json()
        assert base64.b64decode(told["content"]) == content


def test_what_is_not_there_or_not_allowed_is_told(site: Any) -> None:
    """Problems are the same as in JSON: unknown, forbidden, wrong parameters, damaged; other types are refused."""
    stored = _stored(site, b"x" * 10)
    address = f"/api/attachments/read?attachment={stored['id']}"
    assert site.client.get("/api/attachments/read?attachment=nothing", headers=BYTES).status_code == 404
    assert site.client.get("/api/attachments/read", headers=BYTES).status_code == 422
    assert site.client.get(address, headers={"Accept": "text/csv"}).status_code == 406
    assert site.client.get(address, headers={**BYTES, "Authorization": ""}).status_code == 401
    path = path_of(site.app.var / FOLDER, stored["digest"])
    path.write_bytes(b"y" * 10)
    damaged = site.client.get(address, headers=BYTES)
    assert (damaged.status_code, damaged.json()["code"]) == (503, "attachments.damaged")
    path.unlink()
    assert site.client.get(address, headers=BYTES).json()["code"] == "attachments.missing"

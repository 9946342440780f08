"""What stands on paper is read back: pages become images, another decoder finds the codes, and they verify offline."""

from __future__ import annotations

import base64
import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pypdfium2
import pytest
import zxingcpp
from PIL import Image

from imis_core.cards.issuing import CardsIssued, IssuedCard
from imis_core.cards.keys import read_key_set
from imis_core.cards.printing import pdf
from imis_core.cli import main
from imis_core.cli.session import State
from imis_core.parsing import parse
from imis_core.testing.app import TestApp


def issued(app: TestApp) -> list[IssuedCard]:
    return list(parse(app.do("cards.issue", {"scheme": "chf"}), CardsIssued).cards)


def codes_on(page: Any, dots_per_inch: int) -> list[str]:
    image = page.render(scale=dots_per_inch / 72).to_pil()
    return [found.text for found in zxingcpp.read_barcodes(image)]


def test_a_page_a_card(insured: TestApp) -> None:
    """Size ID-1, one code a page, readable at the 200 dots per inch of a simple scanner."""
    cards = issued(insured)
    pages = pypdfium2.PdfDocument(pdf(cards, "Mutuelle", "fr", sheets=False))
    assert len(pages) == 4
    assert [round(points * 25.4 / 72, 1) for points in pages[0].get_size()] == [85.6, 54.0]
    assert [codes_on(page, 200) for page in pages] == [[card.code] for card in cards]
    text = pages[1].get_textpage().get_text_bounded()
    assert all(word in text for word in ("Björn Bhattarai", "Numéro", "2021-12-31"))


def test_the_photo_is_on_the_card_and_not_in_the_code(insured: TestApp) -> None:
    """The newest photo of each person is printed; the code is the same as without."""
    picture = io.BytesIO()
    Image.new("RGB", (60, 70), (200, 30, 30)).save(picture, "JPEG")
    for number, content in (("11", picture.getvalue()),):
        data = {"number": number, "content": base64.b64encode(content).decode()}
        insured.do("beneficiaries.set_photo", data)
    cards = issued(insured)[:2]
    told = insured.do("beneficiaries.photos", {"persons": [card.person for card in cards]})
    photos = {photo["person"]: base64.b64decode(photo["content"]) for photo in told}
    assert list(photos) == [cards[0].person]
    assert "beneficiaries.photos" in {read["query"] for read in insured.do("audit.reads", {"person": "11"})}
    pages = pypdfium2.PdfDocument(pdf(cards, "Mutuelle", "en", sheets=False, photos=photos))
    reds = []
    for page in pages:
        image = page.render(scale=150 / 72).to_pil().convert("RGB")
        reds.append(sum(red > 150 and green < 80 and blue < 80 for red, green, blue in image.get_flattened_data()))
    assert reds[0] > 1000
    assert reds[1] == 0
    assert [codes_on(page, 200) for page in pages] == [[card.code] for card in cards]


def test_the_command_line_prints_the_photo(
    insured: TestApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`imis cards print` reads the photos through the door for reads and puts them on the cards."""
    picture = io.BytesIO()
    Image.new("RGB", (60, 70), (200, 30, 30)).save(picture, "PNG")
    content = base64.b64encode(picture.getvalue()).decode()
    insured.do("beneficiaries.set_photo", {"number": "11", "media_type": "image/png", "content": content})
    monkeypatch.setattr(State, "application", lambda _: contextlib.nullcontext(insured))
    output = tmp_path / "cards.pdf"
    assert main(["cards", "print", "--number", "11", "--out", str(output)]) == 0, capsys.readouterr()
    (page,) = pypdfium2.PdfDocument(output)
    image = page.render(scale=150 / 72).to_pil().convert("RGB")
    assert sum(red > 150 and green < 80 and blue < 80 for red, green, blue in image.get_flattened_data()) > 1000
    assert "beneficiaries.photos" in {read["query"] for read in insured.do("audit.reads", {"person": "11"})}


def test_sheets_of_ten(insured: TestApp) -> None:
    """Twelve cards are two sheets; every code on them is found."""
    cards = issued(insured) * 3
    pages = pypdfium2.PdfDocument(pdf(cards, "Mutuelle", "en", sheets=True))
    assert len(pages) == 2
    assert sorted(codes_on(pages[0], 200) + codes_on(pages[1], 200)) == sorted(card.code for card in cards)


def test_verified_offline_with_files_alone(
    insured: TestApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`imis cards verify` needs the key set and the revocation list, no deployment: it runs in an empty folder."""
    cards = issued(insured)
    insured.do("cards.revoke", {"card": cards[0].serial, "reason": "lost"})
    keys, listed = tmp_path / "keys.json", tmp_path / "revoked.cwt"
    keys.write_text(json.dumps(insured.do("cards.keys", {})))
    listed.write_bytes(base64.b64decode(insured.do("cards.revoked", {})["list"]))
    assert read_key_set(json.loads(keys.read_text()))
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)

    def verify(code: str, *more: str) -> tuple[int, dict[str, Any]]:
        done = main(["cards", "verify", code, "--keys", str(keys), "--json", *more])
        return done, json.loads(capsys.readouterr().out)

    good = verify(cards[1].code, "--revoked", str(listed), "--on", "2021-06-01")
    assert (good[0], good[1]["number"], good[1]["revocations_as_of"]) == (0, "12", "2021-01-01T12:00:00+00:00")
    assert verify(cards[0].code, "--revoked", str(listed), "--on", "2021-06-01")[1]["reason"] == "revoked"
    assert verify(cards[0].code, "--on", "2022-06-01")[0] == 1
    forged = cards[1].code[:-3] + ("AAA" if cards[1].code[-3:] != "AAA" else "BBB")
    assert verify(forged)[1]["reason"] in ("unreadable", "bad_signature")
    wrong = tmp_path / "wrong.json"
    wrong.write_text("{}")
    assert main(["cards", "verify", cards[1].code, "--keys", str(wrong)]) != 0
    assert "cards.key_set" in capsys.readouterr().err

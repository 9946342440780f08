"""Cards as PDF: one of card size a page, or sheets of ten to be cut. It reads no database.

The photo is printed on the card and stands in no code: whoever reads the code sees the person, not the picture.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import segno

from imis_core.cards.issuing import IssuedCard

TEMPLATE: Final = Path(__file__).with_name("card.typ")
# 15 % of the code may be scratched or dirty; a higher level makes the squares too small for cheap printers.
CORRECTION: Final = "m"
PNG: Final = b"\x89PNG"
_LABELS: Final[Mapping[str, Mapping[str, str]]] = {
    "en": {"number": "Number", "born": "Born", "package": "Package", "valid": "Valid"},
    "fr": {"number": "Numéro", "born": "Né(e) le", "package": "Paquet", "valid": "Valable"},
    "sw": {"number": "Namba", "born": "Tarehe ya kuzaliwa", "package": "Kifurushi", "valid": "Muda wa matumizi"},
    "ne": {"number": "नम्बर", "born": "जन्म मिति", "package": "प्याकेज", "valid": "मान्य अवधि"},
}


def pdf(
    cards: Sequence[IssuedCard], title: str, language: str, *, sheets: bool, photos: Mapping[str, bytes] | None = None
) -> bytes:
    """The cards in order as one PDF. `language` is that of the labels; an unknown one is English.

    `photos`: JPEG or PNG files, by the card's `person`; who has none has a card without.
    """
    from imis_core.files.pdf import render_all

    known = language if language in _LABELS else "en"
    document: dict[str, Any] = {
        "title": title,
        "language": known,
        "labels": _LABELS[known],
        "sheets": sheets,
    }
    # The typesetter reads pictures as files beside the template only.
    with tempfile.TemporaryDirectory(prefix="imis-cards-") as folder:
        template = Path(folder) / TEMPLATE.name
        shutil.copyfile(TEMPLATE, template)
        names = {}
        for number, (person, content) in enumerate(sorted((photos or {}).items())):
            names[person] = f"photo-{number}.{'png' if content.startswith(PNG) else 'jpg'}"
            (Path(folder) / names[person]).write_bytes(content)
        document["cards"] = [_face(card, names.get(card.person)) for card in cards]
        return render_all(template, [document])[0]


def _face(card: IssuedCard, photo: str | None) -> Mapping[str, Any]:
    return {
        "photo": photo,
        "name": card.name or "",
        "number": card.number,
        "birth_date": card.birth_date.isoformat(),
        "sex": card.sex,
        "package": f"{card.scheme} {card.package}",
        "first_day": card.first_day.isoformat(),
        "last_day": card.last_day.isoformat(),
        "serial": card.serial,
        "qr": segno.make_qr(card.code, error=CORRECTION).svg_inline(border=4),
    }

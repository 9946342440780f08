"""Texts of messages in the deployment's languages: the framework's own, and those of the deployment before them.

A deployment's are in `translations/LANGUAGE.toml`, table `[messages]`. A text is that of the first of the deployment's
languages that has it; English has all. Fields are filled in by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from imis_core.deployment import Settings, SettingsError, read_toml
from imis_core.errors import Problem

TEXTS: Final[Mapping[str, Mapping[str, str]]] = {
    "en": {
        "renewal.subject": "Your policy ends on {ends}",
        "renewal.text": "The policy of {holder} ends on {ends}. Renew it in time: {package} from {starts}.",
        "photo.subject": "A new photo is needed",
        "photo.text": "The photo of {person} ({number}) is from {taken}. Please bring a new one when you renew.",
        "expiry.subject": "Your policy has ended",
        "expiry.text": "The policy of {holder} ended on {ends}. You are covered no longer; renew it soon.",
        "voucher.subject": "Your voucher of {amount} {currency}",
        "voucher.text": (
            "A voucher of {amount} {currency}: serial number {serial}, number {number}. "
            "Show the number to nobody but whoever pays you."
        ),
        "voucher_until.text": (
            "A voucher of {amount} {currency}: serial number {serial}, number {number}. "
            "Good until {ends}. "
            "Show the number to nobody but whoever pays you."
        ),
        "payment.subject": "A payment for you",
        "payment.text": "Your payment of {amount} {currency} for {cycle} is on its way to you.",
    },
    "fr": {
        "renewal.subject": "Votre police prend fin le {ends}",
        "renewal.text": "La police de {holder} prend fin le {ends}. Renouvelez-la à temps : {package} dès le {starts}.",
        "photo.subject": "Une nouvelle photo est nécessaire",
        "photo.text": "La photo de {person} ({number}) date du {taken}. Apportez-en une nouvelle au renouvellement.",
        "expiry.subject": "Votre police a pris fin",
        "expiry.text": "La police de {holder} a pris fin le {ends}. Vous n'êtes plus couverts ; renouvelez-la.",
        "voucher.subject": "Votre bon de {amount} {currency}",
        "voucher.text": (
            "Un bon de {amount} {currency} : numéro de série {serial}, numéro {number}. "
            "Ne montrez le numéro qu'à la personne qui vous paie."
        ),
        "voucher_until.text": (
            "Un bon de {amount} {currency} : numéro de série {serial}, numéro {number}. "
            "Valable jusqu'au {ends}. "
            "Ne montrez le numéro qu'à la personne qui vous paie."
        ),
        "payment.subject": "Un paiement pour vous",
        "payment.text": "Votre paiement de {amount} {currency} pour {cycle} est en route.",
    },
    "sw": {
        "renewal.subject": "Bima yako inaisha tarehe {ends}",
        "renewal.text": "Bima ya {holder} inaisha tarehe {ends}. Ihuishe kwa wakati: {package} kuanzia {starts}.",
        "photo.subject": "Picha mpya inahitajika",
        "photo.text": "Picha ya {person} ({number}) ni ya tarehe {taken}. Tafadhali leta mpya unapohuisha.",
        "expiry.subject": "Bima yako imeisha",
        "expiry.text": "Bima ya {holder} iliisha tarehe {ends}. Ihuishe ili upate huduma tena.",
        "voucher.subject": "Vocha yako ya {amount} {currency}",
        "voucher.text": (
            "Vocha ya {amount} {currency}: namba ya mfululizo {serial}, namba {number}. "
            "Usionyeshe namba hii kwa mtu isipokuwa anayekulipa."
        ),
        "voucher_until.text": (
            "Vocha ya {amount} {currency}: namba ya mfululizo {serial}, namba {number}. "
            "Inatumika hadi {ends}. "
            "Usionyeshe namba hii kwa mtu isipokuwa anayekulipa."
        ),
        "payment.subject": "Malipo yako",
        "payment.text": "Malipo yako ya {amount} {currency} ya {cycle} yako njiani.",
    },
    "ne": {
        "renewal.subject": "तपाईंको बीमा {ends} मा सकिँदैछ",
        "renewal.text": "{holder} को बीमा {ends} मा सकिँदैछ। समयमै नवीकरण गर्नुहोस्: {starts} देखि {package}।",
        "photo.subject": "नयाँ फोटो आवश्यक छ",
        "photo.text": "{person} ({number}) को फोटो {taken} को हो। नवीकरण गर्दा नयाँ फोटो ल्याउनुहोस्।",
        "expiry.subject": "तपाईंको बीमा सकियो",
        "expiry.text": "{holder} को बीमा {ends} मा सकियो। फेरि सुविधा पाउन नवीकरण गर्नुहोस्।",
        "voucher.subject": "तपाईंको {amount} {currency} को भौचर",
        "voucher.text": (
            "{amount} {currency} को भौचर: क्रम संख्या {serial}, नम्बर {number}। "
            "यो नम्बर भुक्तानी दिने व्यक्तिबाहेक कसैलाई नदेखाउनुहोस्।"
        ),
        "voucher_until.text": (
            "{amount} {currency} को भौचर: क्रम संख्या {serial}, नम्बर {number}। "
            "{ends} सम्म मान्य। "
            "यो नम्बर भुक्तानी दिने व्यक्तिबाहेक कसैलाई नदेखाउनुहोस्।"
        ),
        "payment.subject": "तपाईंको भुक्तानी",
        "payment.text": "{cycle} को तपाईंको {amount} {currency} भुक्तानी पठाइँदैछ।",
    },
}


def message_text(settings: Settings, name: str, **fields: Any) -> str:
    """A text in the deployment's language, its fields filled in. Raises `SettingsError` for one that cannot be."""
    template = _templates(settings.folder, settings.deployment.languages)[name]
    try:
        return template.format_map(fields)
    except (KeyError, ValueError, IndexError, AttributeError):
        message = f"cannot be filled in; write the fields {', '.join('{' + f + '}' for f in fields)} only"
        raise SettingsError("translations", (Problem(f"messages.{name}", "format", message),)) from None


@cache
def _templates(folder: Path | None, languages: tuple[str, ...]) -> Mapping[str, str]:
    """Every text in the first language that has it."""
    found: dict[str, str] = {}
    for language in (*languages, "en"):
        for name, text in {**TEXTS.get(language, {}), **_own(folder, language)}.items():
            found.setdefault(name, text)
    return found


def _own(folder: Path | None, language: str) -> dict[str, str]:
    path = None if folder is None else folder / "translations" / f"{language}.toml"
    if path is None or not path.is_file():
        return {}
    table = read_toml(path).get("messages", {})
    return {str(name): str(text) for name, text in table.items()} if isinstance(table, Mapping) else {}

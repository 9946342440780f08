"""`imis cards`: membership cards printed, taken back, and checked without a connection."""

from __future__ import annotations

import base64
import io
import json
import sys
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import rich_click as click

from imis_core.cli.session import State, work_refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imis_core.application import Application
    from imis_core.cards.issuing import IssuedCard
    from imis_core.security.caller import Caller

PHOTOS_AT_ONCE: Final = 100
FILE_CARDS: Final = 1000  # of one PDF; typesetting keeps all of a file in memory
_out = click.Path(dir_okay=False, path_type=Path)
_in = click.Path(exists=True, dir_okay=False, path_type=Path)
_as = click.option("--as", "user", default="administrator", show_default=True, metavar="USER", help="Who acts.")


@click.group()
def cards() -> None:
    """Membership cards: print them, publish the keys, revoke them, and verify them offline."""


@cards.command("print")
@click.option("--scheme", metavar="CODE", help="All who are covered under this scheme.")
@click.option("--package", metavar="CODE", help="Only of this package.")
@click.option("--location", metavar="CODE", help="Only of this place and those below it.")
@click.option("--group", metavar="CODE", help="The members of this group.")
@click.option("--number", "numbers", multiple=True, metavar="NUMBER", help="This person; may be repeated.")
@click.option("--sheets", is_flag=True, help="Ten on an A4 sheet, to be cut; otherwise a page a card.")
@click.option("--reissue", metavar="REASON", help="Revoke the cards they have, and print other ones.")
@click.option("--out", "--output", "output", required=True, metavar="FILE.pdf", type=_out)
@_as
@click.pass_obj
def print_cards(
    state: State, scheme: str | None, package: str | None, location: str | None, group: str | None,
    numbers: tuple[str, ...], sheets: bool, reissue: str | None, output: Path, user: str,
) -> int:  # fmt: skip
    """Issue cards to persons who have none, and print the cards of all who are named, as PDF."""
    from imis_core.cards.printing import pdf
    from imis_core.cli.transfer import put_in_place
    from imis_core.errors import ImisError
    from imis_core.security.login import caller_named

    common = {
        name: value
        for name, value in (
            ("scheme", scheme), ("package", package), ("location", location), ("group", group), ("reissue", reissue),
        )
        if value is not None
    }  # fmt: skip
    with state.application() as app:
        caller = caller_named(app, user)
        found: list[IssuedCard] = []
        issued = files = printed = 0

        def write(last: bool) -> None:
            nonlocal files, printed
            while len(found) >= FILE_CARDS or (last and found):
                part, found[:FILE_CARDS] = found[:FILE_CARDS], []
                path = output if not files else output.with_stem(f"{output.stem}-{files + 1}")
                language = app.settings.deployment.languages[0]
                photos = _photos(app, part, caller)
                put_in_place(path, io.BytesIO(pdf(part, app.settings.name, language, sheets=sheets, photos=photos)))
                files, printed = files + 1, printed + len(part)
                click.echo(f"{path}: {len(part)} cards")

        try:
            for asked in [{**common, "number": number} for number in numbers] or [common]:
                after = None
                while True:
                    answer = _issue(app, {**asked, **({"after": after} if after else {})}, caller)
                    issued += answer.issued
                    found += answer.cards
                    write(last=False)
                    after = answer.next
                    if after is None:
                        break
        except ImisError as error:
            raise work_refused(error) from None
        write(last=True)
    click.echo(f"{printed} cards printed, {issued} of them new")
    return 0 if printed else 1


def _issue(app: Any, asked: dict[str, Any], caller: Any) -> Any:
    from imis_core.cards.issuing import CardsIssued
    from imis_core.parsing import parse

    return parse(app.run("cards.issue", asked, caller), CardsIssued)


def _photos(app: Application, cards: Sequence[IssuedCard], caller: Caller) -> dict[str, bytes]:
    """The photos of the cards' persons, by the persons' ids."""
    from imis_core.queries import run_query

    found = {}
    for start in range(0, len(cards), PHOTOS_AT_ONCE):
        persons = [card.person for card in cards[start : start + PHOTOS_AT_ONCE]]
        photos = run_query(app, "beneficiaries.photos", {"persons": persons}, caller)
        found.update({photo["person"]: base64.b64decode(photo["content"]) for photo in photos})
    return found


@cards.command()
@click.option("--out", "--output", "output", metavar="FILE.json", type=_out, help="Absent: standard output.")
@click.pass_obj
def keys(state: State, output: Path | None) -> None:
    """Write the published key set; it is also at /cards/keys.json of the server."""
    from imis_core.cards.keys import KeyRing, key_set
    from imis_core.cli.transfer import put_in_place

    text = json.dumps(key_set(KeyRing(state.deployment / "keys").public()), indent=1) + "\n"
    if output is None:
        click.echo(text, nl=False)
    else:
        put_in_place(output, io.BytesIO(text.encode()))


@cards.command("rotate-keys")
@click.option("--forget", "forget", multiple=True, metavar="KEY", help="Make the cards of an older key worthless.")
@_as
@click.pass_obj
def rotate_keys(state: State, forget: tuple[str, ...], user: str) -> None:
    """Sign with a new key from now on; cards signed before stay good."""
    from imis_core.errors import ImisError
    from imis_core.security.login import caller_named

    with state.application() as app:
        try:
            done = app.run("cards.rotate_keys", {"forget": list(forget)}, caller_named(app, user))
        except ImisError as error:
            raise work_refused(error) from None
    click.echo(f"key {done['key']} signs now; the key set holds {', '.join(done['known'])}")


@cards.command()
@click.option("--out", "--output", "output", required=True, metavar="FILE", type=_out)
@_as
@click.pass_obj
def revoked(state: State, output: Path, user: str) -> None:
    """Write the signed list of cards that are not good any more, for verifiers without a connection."""
    from imis_core.cli.transfer import put_in_place
    from imis_core.errors import ImisError
    from imis_core.security.login import caller_named

    with state.application() as app:
        try:
            found = app.run("cards.revoked", {}, caller_named(app, user))
        except ImisError as error:
            raise work_refused(error) from None
    put_in_place(output, io.BytesIO(base64.b64decode(found["list"])))
    click.echo(f"{output}: {found['cards']} cards, as of {found['as_of']}")


@cards.command()
@click.argument("code", metavar="CODE|-")
@click.option("--keys", "keys_file", required=True, metavar="FILE.json", type=_in, help="The published key set.")
@click.option("--revoked", "revoked_file", metavar="FILE", type=_in, help="The newest revocation list at hand.")
@click.option("--on", metavar="DATE", type=click.DateTime(["%Y-%m-%d"]), help="On that day; absent: now.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
def verify(code: str, keys_file: Path, revoked_file: Path | None, on: datetime | None, as_json: bool) -> int:
    """Check the text of a card's QR code (or standard input) with files alone: no deployment, no network.

    Exit code 0 for a good card, 1 for one that is not.
    """
    from datetime import UTC

    from imis_core.cards.keys import read_key_set
    from imis_core.cards.revoking import read_list
    from imis_core.cards.verifying import verify as judge
    from imis_core.errors import ImisError, refused

    try:
        document = json.loads(keys_file.read_text("utf-8"))
    except ValueError:
        document = None
    known = read_key_set(document)
    listed = None if revoked_file is None else read_list(revoked_file.read_bytes(), known)
    text = sys.stdin.read() if code == "-" else code
    day: date | None = None if on is None else on.date()
    try:
        verdict = judge(text, known, listed, now=datetime.now(UTC), on=day)
    except ImisError as error:
        if not error.code.startswith("cards."):
            raise refused(error.code, error.refusal.message) from None
        _tell({"good": False, "reason": error.code.partition(".")[2], "message": error.refusal.message}, as_json)
        return 1
    card = verdict.card
    said = {
        "good": verdict.good, "reason": verdict.reason, "number": card.number, "name": card.name,
        "birth_date": card.birth_date.isoformat(), "sex": card.sex, "scheme": card.scheme, "package": card.package,
        "first_day": card.first_day.isoformat(), "last_day": card.last_day.isoformat(), "issuer": card.issuer,
        "revocations_as_of": None if listed is None else listed.as_of.isoformat(),
    }  # fmt: skip
    _tell(said, as_json)
    return 0 if verdict.good else 1


def _tell(said: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(said, ensure_ascii=False))
        return
    click.echo("good" if said["good"] else f"NOT GOOD: {said['reason']}")
    for name, value in said.items():
        if name not in ("good", "reason") and value is not None:
            click.echo(f"  {name.replace('_', ' ')}: {value}")
    if said.get("good") and said.get("revocations_as_of") is None:
        click.echo("  no revocation list was given: whether the card was revoked is not known")

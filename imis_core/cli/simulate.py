"""`imis simulate`: what past claims and contributions would be under a proposed package. It writes only its files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import rich_click as click

from imis_core.cli.session import State, work_refused
from imis_core.cli.transfer import put_in_place

_DAY = click.DateTime(formats=["%Y-%m-%d"])
_written = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option(
    "--package", "file", required=True, metavar="FILE.toml", help="The proposed package, as `imis load` takes it.",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)  # fmt: skip
@click.option("--from", "first", required=True, type=_DAY, metavar="DAY", help="The first target date.")
@click.option("--to", "last", required=True, type=_DAY, metavar="DAY", help="The last target date.")
@click.option("--contributions", is_flag=True, help="Also quote the policies that began in the period.")
@click.option("--scheme", metavar="CODE", help="The scheme, where the file names none.")
@click.option("--csv", "table", type=_written, metavar="FILE", help="Write every figure as CSV.")
@click.option("--html", "page", type=_written, metavar="FILE", help="Write a page with charts.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer of `claims.simulate`.")
@click.option("--as", "user", default="administrator", show_default=True, metavar="USER", help="The user who asks.")
@click.pass_obj
def simulate(
    state: State, file: Path, first: Any, last: Any, contributions: bool, scheme: str | None, table: Path | None,
    page: Path | None, as_json: bool, user: str,
) -> None:  # fmt: skip
    """Value the claims of a period under the package in FILE.toml beside the one in force.

    Every claim of a person with that package is judged and valued again, in order of target date and code.
    """
    from imis_core.cli.run import print_json
    from imis_core.errors import ImisError
    from imis_core.security.login import caller_named
    from imis_core.simulation.page import page as html
    from imis_core.simulation.tables import as_csv, as_text

    proposed = _proposed(file, scheme)
    asked = {
        "scheme": proposed["scheme"], "package": proposed["code"], "terms": proposed["terms"],
        "from": first.date().isoformat(), "to": last.date().isoformat(), "contributions": contributions,
    }  # fmt: skip
    with state.application() as app:
        caller = caller_named(app, user)
        try:
            answer = app.run("claims.simulate", asked, caller)
        except ImisError as error:
            raise work_refused(error) from None
        currency = app.settings.currency_of(proposed["scheme"])
    if table is not None:
        put_in_place(table, io.BytesIO(as_csv(answer).encode()))
    if page is not None:
        put_in_place(page, io.BytesIO(html(answer, currency).encode()))
    if as_json:
        print_json(answer)
    else:
        click.echo(as_text(answer))


def _proposed(file: Path, scheme: str | None) -> dict[str, Any]:
    """The package of a file: its scheme, its code and its terms."""
    from imis_core.deployment import read_toml
    from imis_core.errors import ImisError, Problem, invalid

    content = read_toml(file)
    found = {"scheme": content.get("scheme", scheme), "code": content.get("code"), "terms": content.get("terms")}
    problems = [Problem(name, "required", f"{file} has no {name!r}") for name, value in found.items() if not value]
    if problems:
        raise ImisError(invalid(*problems))
    if scheme is not None and found["scheme"] != scheme:
        message = f"{file} is a package of the scheme {found['scheme']!r}"
        raise ImisError(invalid(Problem("--scheme", "other_scheme", message)))
    return found

"""Employment injury insurance as a plugin: all its hook implementations on one page. They import lazily."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from imis_core.api import Manifest, hookimpl

if TYPE_CHECKING:
    from imis_core.api import SchemeType

NOUNS = {"eii": 1020, "accidents": 1021, "awards": 1022, "lumps": 1023}


@hookimpl
def imis_plugin() -> Manifest:
    from imis_eii import __version__

    return Manifest(
        name="eii",
        version=__version__,
        kernel=">=0.1,<0.2",
        nouns=NOUNS,
        migrations="imis_eii.migrations",
        tables="imis_eii.tables",
    )


@hookimpl
def imis_register_scheme_types() -> Iterable[SchemeType]:
    from imis_core.api import SchemeType
    from imis_eii import checks, terms
    from imis_eii.rules import contributions

    return [
        SchemeType(
            name="eii",
            terms=terms.EiiTerms,
            check_terms=checks.check_terms,
            has_wage_rates=contributions.has_contributions,
            wage_rates=contributions.contributions,
        )
    ]

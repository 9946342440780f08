"""Health insurance as a plugin: all its hook implementations on one page. They import lazily and compute nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from imis_core.api import Manifest, hookimpl

if TYPE_CHECKING:
    from imis_core.api import ClaimSample, ClaimsValuated, Context, Query, SampleRule, SchemeType


@hookimpl
def imis_plugin() -> Manifest:
    from imis_health_insurance import __version__
    from imis_health_insurance.settings import HealthSettings

    return Manifest(
        name="health_insurance",
        version=__version__,
        kernel=">=0.1,<0.2",
        settings=HealthSettings,
        nouns={"health_insurance": 1000},
        migrations="imis_health_insurance.migrations",
        tables="imis_health_insurance.tables",
    )


@hookimpl
def imis_register_scheme_types() -> Iterable[SchemeType]:
    from imis_core.api import SchemeType
    from imis_health_insurance import checks, store, terms
    from imis_health_insurance.rules import premium, subsidy

    return [
        SchemeType(
            name="health_insurance",
            terms=terms.HealthTerms,
            features=checks.FEATURES,
            check_terms=checks.check_terms,
            item_codes=checks.item_codes,
            store_package=store.store_package,
            enrolment=premium.enrolment,
            enrolment_conditions=subsidy.conditions,
            payment_terms=premium.payment_terms,
            covers_sql=store.covers_sql,
            line_terms_sql=store.line_terms_sql,
            package_limits_sql=store.package_limits_sql,
            flat_package=store.flat_package,
        )
    ]


@hookimpl
def imis_register_queries() -> Iterable[Query]:
    from imis_health_insurance.utilisation import report

    return [report]


@hookimpl
def imis_claim_sample_sql(sample: ClaimSample) -> Sequence[SampleRule]:
    from imis_health_insurance import sampling

    return sampling.sample(sample)


@hookimpl
def imis_on_claims_valuated(context: Context, event: ClaimsValuated) -> None:
    from imis_health_insurance.utilisation import count

    count(context, event)

"""The plugin's own settings, the table `[plugins.health_insurance]` of imis.toml."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class HealthSettings:
    """`review_overlapping_stays`: a stay that overlaps another one of the patient elsewhere waits for its review."""

    review_overlapping_stays: bool = False

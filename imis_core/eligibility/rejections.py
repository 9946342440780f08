"""Names and numbers of rejections: openIMIS's codes, kept so that migrated data and FHIR can name them."""

from __future__ import annotations

from enum import IntEnum


class Rejection(IntEnum):
    """Why a line or a claim is refused (health_insurance.md 4)."""

    REVIEWER = -1
    ALL_LINES_REJECTED = 1
    NOT_IN_PRICE_LIST = 2
    NOT_COVERED = 3
    PATIENT_CATEGORY = 4
    FREQUENCY = 5
    PERSON_INVALID = 7
    TARGET_DATE = 9
    CARE_TYPE = 10
    MAX_HOSPITALISATIONS = 11
    MAX_VISITS = 12
    MAX_CONSULTATIONS = 13
    MAX_SURGERIES = 14
    MAX_DELIVERIES = 15
    MAX_PROVISIONS = 16
    WAITING_PERIOD = 17
    MAX_ANTENATAL = 19
    NO_COVERAGE = 21

    @property
    def label(self) -> str:
        """The name as results carry it: `not_covered`."""
        return self.name.lower()

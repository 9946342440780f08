"""The Synthea sample through the whole system: import, enrolment, claims, valuation, payment, totals."""

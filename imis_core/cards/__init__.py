"""Membership cards: who is covered, signed so that it can be checked without a connection. No photo, no health data."""

"""Employers, spells of employment and declared wages with their contributions."""

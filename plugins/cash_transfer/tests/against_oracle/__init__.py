"""Scores, selections and amounts beside the plain rules."""

"""Policies beside the plain rules."""

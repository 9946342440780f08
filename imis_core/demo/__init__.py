"""Invented people and claims to try a deployment with; nothing that a working scheme needs."""

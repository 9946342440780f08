"""Stored files: written once, named by their digest, read by those who may."""

"""Migrations: one runner for the kernel and every plugin; each has its own schema, linear history and version table."""

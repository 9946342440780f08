"""Benefit packages: the kinds of schemes that plugins bring, and dated versions of each scheme's packages."""

"""Claims: submitted by providers, checked, valuated, paid. The same for every kind of scheme that takes claims."""

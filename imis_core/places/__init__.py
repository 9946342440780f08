"""Places: the dated tree of locations and the providers that stand in it. Knows no other room."""

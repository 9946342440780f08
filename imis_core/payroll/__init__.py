"""Cycles, payrolls and entitlements: who is owed what for a cycle, approved and paid through payments."""

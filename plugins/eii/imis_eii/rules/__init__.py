"""The arithmetic of employment injury: pure functions on whole minor units and exact fractions, no database."""

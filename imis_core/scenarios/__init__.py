"""Scenario files: a scheme's rules as steps and expectations, run on throw-away databases. Holds no rule itself."""

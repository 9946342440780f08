"""Eligibility: who is covered for what on a day, and what a line would pay. Claims are judged by the same functions."""

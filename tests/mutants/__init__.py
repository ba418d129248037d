"""Deliberate faults, one at a time: does a test notice? `make mutants`; the result is in docs/reference/mutants.md."""

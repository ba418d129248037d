"""Runs of the tests by hand, kept with the commit: `make test` under limits of the instruction set, `make test-all`."""

"""The hunt: damaged files, killed processes, machines that are short; `make fuzz`, docs/reference/hunt.md.

`python -m hunt`, in `tests/`: `fuzz` reads mutants of valid files, `kill` ends commands at any moment, `starve` takes
memory, disk, files, processes and streams away, `replay` tries one fault again.
"""

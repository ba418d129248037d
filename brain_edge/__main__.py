"""`python -m brain_edge` is the same program as `brain-edge`."""

from brain_edge.cli import command_line

if __name__ == "__main__":
    command_line()

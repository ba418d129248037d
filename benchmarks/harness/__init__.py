"""What every benchmark here stands on: who runs, on what machine, how a process is measured, how it is kept."""

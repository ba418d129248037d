"""This machine and this process: CPU, instruction sets, memory, cgroups, file paths, options of a run."""

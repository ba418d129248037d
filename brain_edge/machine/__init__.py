"""This machine and this process: CPU, instruction sets, memory, cgroups, places of files, options of a run."""

"""Speed and memory of a package on this machine, in total and per layer."""

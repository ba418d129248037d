"""Rewrites of a graph just before it is compiled: the same function, with better sums and less memory."""

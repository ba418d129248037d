"""Rewrites of a graph just before it is compiled: the same function, summed better and in less memory."""

"""Weights of a quantised graph, changed without labels so that the graph gives the outputs of its float graph."""

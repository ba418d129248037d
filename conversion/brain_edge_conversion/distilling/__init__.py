"""Distillation: the constants of a quantised graph, trained as a whole towards the outputs of its float graph."""

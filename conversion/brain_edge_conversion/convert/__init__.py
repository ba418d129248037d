"""Conversion of a model source to a package that reproduces PyTorch, or a refusal."""

"""From a model source to a package that reproduces PyTorch, or to a refusal."""

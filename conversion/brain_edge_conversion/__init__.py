"""The build side: from PyTorch weights to a package. Never imported by the runtime."""

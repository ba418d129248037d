"""Exact rewrites of PyTorch modules before tracing: the same function in a form that converts, or runs, better."""

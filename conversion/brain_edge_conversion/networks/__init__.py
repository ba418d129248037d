"""Published architectures, written anew; one module each.

Each has the state-dict keys of the published program, so that its weights load strictly, and computes what that
program computes at inference: no dropout, no auxiliary outputs. What is (1, C, I, J, K) here is whatever array
order the recipe feeds. Only tensors pass between layers, so that every network can be traced.
"""

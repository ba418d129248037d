"""Exact rewrites: the same function in a form that converts, or runs, better.

Some rewrites change the PyTorch module before tracing, because only the module has the information: `norm_statistics`,
`binary_head`. Others change the traced OpenVINO graph, from any source: `pointwise_upsampling`, `sub_pixel` (both
through `graph`) and `final_activation`. `input_affine` changes steps and graph together. docs/concepts/parity.md lists
them all.
"""

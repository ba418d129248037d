"""Exact rewrites: the same function in a form that converts, or runs, better.

Of PyTorch modules before tracing, where only the module says what is meant: `norm_statistics`, `binary_head`. Of the
traced OpenVINO graph, whatever it was made from: `pointwise_upsampling`, `sub_pixel` (both through `graph`) and
`final_activation`. Of steps and graph together: `input_affine`. All are listed in docs/concepts/parity.md.
"""

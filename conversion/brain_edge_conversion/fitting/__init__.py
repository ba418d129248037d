"""Small fits: narrow networks with some training, to show the accuracy that INT8 costs their architecture.

They are fitted to the few available labelled cases and judged on the same cases: use them only to test this program.
"""

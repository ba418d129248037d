"""Small fits: narrow networks that have learnt something, so that what INT8 costs their topology can be shown.

They are fit to the few labelled cases at hand and judged on the same: good for testing this program, for nothing else.
"""

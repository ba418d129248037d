"""Rigid registration: transforms, their search, one interpolation through them, and the judgement of a result."""

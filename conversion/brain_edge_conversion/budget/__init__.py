"""The accuracy budget: what a candidate does to the masks, and the verdict on it."""

"""The accuracy budget: measured changes of the masks, and the verdict on a candidate."""

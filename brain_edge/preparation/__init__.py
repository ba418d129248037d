"""A study as it was scanned, brought to what a network wants, and masks brought back to the images."""

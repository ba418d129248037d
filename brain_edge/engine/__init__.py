"""From a study to a mask through a specification, whatever computes the networks: plan, windows, slices, memory."""

"""INT8 within a budget: policy (ladder, policy), measurement (measure, isa, ranking) and mechanism (networks) apart."""

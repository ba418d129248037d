"""Search for a cheaper package under one budget: question, journal, trials, freeze, judgement, evidence, report."""

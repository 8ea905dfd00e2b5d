"""The threshold below which the answer is "unknown": chosen at a rate, measured in folds, kept in the model's spec."""

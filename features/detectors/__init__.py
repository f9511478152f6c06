"""What calls a bar abnormal: one detector per kind, a pure function of the features."""

"""Make markets that never were, with anomalies at known places."""

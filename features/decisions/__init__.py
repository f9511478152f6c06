"""From scores to decisions: what is an anomaly, what is one event, what is worth a notification."""

"""Grafana from outside: its client, and what of this project it is told."""

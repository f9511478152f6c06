"""The boards in short: `python -m grafana.boards` writes `grafana/dashboards/*.json` from them."""

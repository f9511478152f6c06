"""Judge bars that are stored or filed: where they come from, and what a person and a program see of the verdict."""

"""How: a model in this process."""

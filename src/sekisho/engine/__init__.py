"""When: which models are in memory, and what each runs next."""

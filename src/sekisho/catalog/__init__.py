"""What exists: the registry, its pins, and the files behind them."""

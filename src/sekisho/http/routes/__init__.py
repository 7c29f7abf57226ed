"""One file a dialect, each with its own request and answer types."""

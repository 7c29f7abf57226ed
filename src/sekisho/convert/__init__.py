"""Checkpoint → graph, torch-free."""

"""Measurements. Machines differ and are noisy: only ratios between things measured in one run mean anything."""

"""Measuring a server beside what its engine could do at best. Only ratios of one run mean anything."""

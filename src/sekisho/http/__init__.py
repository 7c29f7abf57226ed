"""The wire: routes, guards, answers."""

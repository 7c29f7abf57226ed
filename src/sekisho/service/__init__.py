"""The meaning of a request, apart from any dialect."""

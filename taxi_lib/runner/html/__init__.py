"""The HTML copy of an executed notebook, in which nothing can act."""

"""The theorem library: one module a theorem, each with a ``BOUND``; reach them through ``bst.theorems``."""

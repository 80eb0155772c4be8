"""One decoder; ``tiny`` and ``gpt2_124m`` are two of its configurations."""

"""SQL over the state in a checkpoint."""

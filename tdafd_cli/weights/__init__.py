"""Trained networks as files: what they hold, which there are, where they come from and are kept."""

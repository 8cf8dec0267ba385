"""Training a network on a folder of volumes."""

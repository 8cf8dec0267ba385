"""What the computer offers, and what a computation took of it."""

"""A network over a whole volume, in tiles that fit the memory, and from file to file."""

"""Commands of ``tdafd``: each parses, calls one function and prints."""

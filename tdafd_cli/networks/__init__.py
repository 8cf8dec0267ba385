"""Networks from low to high volumes, TDAFD and published ones, and what they take in numbers."""

"""What every run leaves: records line by line, their conditions, and how to read them."""

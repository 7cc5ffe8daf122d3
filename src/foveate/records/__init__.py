"""What every run leaves: records line by line, how to read them, and what they say."""

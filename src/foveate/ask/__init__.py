"""Answering: from a picture or clip and a question to text and a report."""

"""What a picture or a clip costs before the LLM, and how many visual tokens it becomes."""

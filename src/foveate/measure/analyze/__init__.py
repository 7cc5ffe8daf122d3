"""What a model does with its visual tokens, to find a schedule for a new one."""

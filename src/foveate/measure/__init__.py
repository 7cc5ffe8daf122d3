"""What a run costs and how well it answers."""

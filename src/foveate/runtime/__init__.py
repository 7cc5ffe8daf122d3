"""The hooks in a running model that merge and drop tokens and report what that saved."""

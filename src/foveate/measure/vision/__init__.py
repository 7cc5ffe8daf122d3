"""Where what is shown could be imported from before costs had a part of their own."""

"""What is measured, and the tables of the pages: scripts, and packages to be run with `python -m`."""

"""`python -m foveate`, for launchers that start modules: `accelerate launch -m foveate train ...`."""

from foveate.cli import main

if __name__ == "__main__":
    main()

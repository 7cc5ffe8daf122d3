"""What the tables of README and docs have in common."""

from pathlib import Path

ROOT = Path(__file__).parent.parent


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def points(found: dict[str, float]) -> str:
    """A difference of accuracies in points, with its interval."""
    mean, low, high = (100 * found[name] for name in ("mean", "low", "high"))
    return f"{mean:+.1f}, {low:+.1f} to {high:+.1f}"

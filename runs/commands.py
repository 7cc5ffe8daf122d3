"""The commands that would reproduce AIM's tables where the hub is reachable, and the published numbers.

    python runs/commands.py             # print them
    python runs/commands.py > all.sh    # or keep them

They need `pip install "foveate[eval]"`, a GPU, and the data sets that lmms-eval downloads. Written
`accelerate launch --multi_gpu --num_processes N -m lmms_eval ...`, N GPUs share the questions.
"""

import json
import sys
from pathlib import Path
from typing import Any

PUBLISHED = Path(__file__).parent / "published.json"


def command(group: dict[str, Any], row: dict[str, Any]) -> str:
    """One line for a row of a table."""
    arguments = [f"pretrained={group['model']}"]
    arguments += [row["arguments"]] if row["arguments"] else []
    arguments += [f"frames={row['frames']}"] if row["frames"] else []
    tasks = [group["tasks"][name] for name, score in row["scores"].items() if score is not None]
    return (
        f"lmms-eval --model foveate --model_args {','.join(arguments)} --tasks {','.join(tasks)} "
        f"--batch_size 1 --log_samples --output_path runs/{group['name']}"
    )


def main() -> None:
    """Print every command under what was published for it."""
    for group in json.loads(PUBLISHED.read_text())["groups"]:
        for row in group["rows"]:
            known = {name: score for name, score in row["scores"].items() if score is not None}
            published = ", ".join(f"{name} {score}" for name, score in known.items())
            sys.stdout.write(f"# published: {published}\n{command(group, row)}\n\n")


if __name__ == "__main__":
    main()

"""What a command of foveate does, in this process."""

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from unittest import mock

from jaxtyping import config
from transformers.utils import logging

from foveate.cli import main


def run(*arguments: str) -> subprocess.CompletedProcess:
    """What the command does in a process of its own, in this one: imports take longer than most tests.

    Types are not checked meanwhile, as they are not where users type what they like; and transformers,
    imported already, must be told otherwise than by an environment variable to draw no bars.
    """
    command, out, err, status = ["foveate", *arguments], io.StringIO(), io.StringIO(), 0
    config.update("jaxtyping_disable", True)
    logging.disable_progress_bar()
    try:
        with (
            mock.patch.object(sys, "argv", command),
            mock.patch.dict(os.environ),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            main()
    except SystemExit as end:
        status = end.code or 0
    finally:
        logging.enable_progress_bar()
        config.update("jaxtyping_disable", False)
    return subprocess.CompletedProcess(command, status, out.getvalue(), err.getvalue())

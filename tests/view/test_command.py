"""`foveate view` without gradio, and at a port that is taken."""

import socket
import sys

import pytest

from foveate.cli import main
from foveate.errors import InputError
from foveate.view.page import HOST, free_port


def test_without_gradio_one_line_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setattr(sys, "argv", ["foveate", "view", "no-such-model"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert told == (
        'foveate: foveate view needs an optional dependency: pip install "foveate[view]"\n'
    )


def test_a_port_that_is_taken():
    with socket.create_server((HOST, 0)) as line:
        port = line.getsockname()[1]
        with pytest.raises(InputError, match=f"cannot listen at {HOST}:{port}"):
            free_port(port)
    assert free_port(0) > 0
    with pytest.raises(InputError, match="cannot listen"):
        free_port(70000)

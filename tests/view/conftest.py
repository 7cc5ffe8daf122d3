"""The built-in model, as the page asks it."""

import pytest

import foveate
from foveate.view.asking import Viewer
from foveate.view.handlers import Page


@pytest.fixture(scope="session")
def viewer():
    return Viewer(foveate.load())


@pytest.fixture(scope="session")
def page(viewer):
    return Page(viewer, "foveate-mini")

"""Every shape and type in the signatures of the core is checked while tests run; `network` tests are skipped visibly.

Not concerned with fixtures of single test files: they stand where they are used.
"""

import signal

import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run as a job in the background
install_import_hook("perceivers.core", "beartype.beartype")
settings.register_profile("long", settings.default)  # `--hypothesis-profile=long`: see `test_rubbish.py`


def pytest_addoption(parser):
    parser.addoption("--network", action="store_true", help="run the tests that need the Hub")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--network"):
        return
    for item in items:
        if item.get_closest_marker("network"):
            item.add_marker(pytest.mark.skip(reason="needs the Hub: pytest --network"))

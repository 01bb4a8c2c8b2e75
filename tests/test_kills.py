import subprocess
import sys

import pytest


@pytest.mark.timeout(900)
def test_twenty_kills_change_nothing():
    done = subprocess.run([sys.executable, "-m", "benchmarks.kills", "--kills", "20"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("20 kills")

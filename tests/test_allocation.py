import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
from perceivers import allocation
if sys.argv[1] == "kept":
    allocation.keep()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
b"1" * 2**27  # 128 MB: the room that is there from now on
before = faults()
for _ in range(10):
    b"1" * 2**27
print(faults() - before)
"""


def faults(how):
    """How often the system had to clear a page, for ten arrays of 128 MB one after the other."""
    return int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_arrays_are_given_the_room_of_those_before_them():
    assert faults("kept") < 100 < faults("as it is") / 5

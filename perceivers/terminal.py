"""Lines for the person at the terminal.

Not concerned with what is said, nor with results: those go to stdout as they are.
"""

import re
import sys
from collections.abc import Mapping

SHOWN = 5

# Control characters, of which escape sequences are made, marks that turn the direction of writing, halves of pairs.
UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(line: str) -> str:
    """The line with its unsafe characters written out: names in data must not steer a terminal or break a line."""
    return UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), line)


def counted(count: int, what: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{count:,} {what}{'s' * (count != 1)}"


def natural(name: str) -> tuple[list[str | int], str]:
    """A key by which 2 comes before 10, as people expect of names."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)], name


def say_rows(title: str, failed: Mapping[int, str]) -> None:
    """The first few rows of which something is said, by their order, and how many more there are."""
    lines = [failed[row] for row in sorted(failed)]
    for line in lines[:SHOWN]:
        say(f"{title}: {line}")
    if more := lines[SHOWN:]:
        say(f"{title}: … and {counted(len(more), 'more row')}")


def say(line: str) -> None:
    """A line on stderr: stdout carries results."""
    print(printable(line), file=sys.stderr, flush=True)

"""The command line. Thin: it parses, calls a command, and turns errors into one line and an exit code.

Exit codes: 0 done; 1 it began and failed, or some rows could not be read; 2 nothing began; 130 Ctrl-C, 143 SIGTERM.
Not concerned with the commands: each is a file in `commands/`, and imports what it needs when it is called.
"""

import os
import sys

from cyclopts import App, CoercionError, CycloptsError, Parameter, UnusedCliTokensError

from perceivers import __version__
from perceivers.allocation import keep
from perceivers.commands.bench import bench
from perceivers.commands.evaluate import evaluate
from perceivers.commands.explain import explain
from perceivers.commands.export import export
from perceivers.commands.inspect import inspect
from perceivers.commands.models import models
from perceivers.commands.options import STDIN
from perceivers.commands.plan import plan
from perceivers.commands.predict import predict
from perceivers.commands.train import train
from perceivers.errors import BadInput, Failed, Stopped, Unreadable
from perceivers.terminal import say

EXIT_CODES = (
    "Exit codes: 0 done; 1 it began and failed, or predict, explain or evaluate could not read some rows, which are "
    "named; 2 nothing began, and the message says what would mend it; 130 Ctrl-C; 143 SIGTERM."
)
EXPECTED: dict[object, str] = {int: "a whole number, such as 10", float: "a number, such as 0.5"}

app = App(
    name="perceivers",
    help="One model for any data: a Perceiver IO for tables, text, pictures, sound, points and series.",
    version=__version__,
    help_format="plaintext",
    help_epilogue=EXIT_CODES,
    default_parameter=Parameter(negative=()),
)
for _command in (inspect, train, evaluate, models, export):
    app.command(_command)
app.command(bench, usage="Usage: perceivers bench [OPTIONS] [WHAT...]")
app.command(explain, usage="Usage: perceivers explain [OPTIONS] MODEL INPUT...")
app.command(plan, usage="Usage: perceivers plan [OPTIONS] DATA | MODEL [INPUT...]")
app.command(predict, usage="Usage: perceivers predict [OPTIONS] MODEL INPUT...")


def main() -> None:
    """The entry point of the command `perceivers`."""
    arguments = [STDIN if a == "-" else a for a in sys.argv[1:]]  # a lone hyphen would be taken for an option
    debug = "--debug" in arguments
    keep()
    try:
        code = app(
            [a for a in arguments if a != "--debug"],
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
    except CycloptsError as error:
        code = _fail(_said(error), 2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except KeyboardInterrupt:
        code = _fail("stopped", 130)
    except (BadInput, Unreadable) as error:
        if debug:
            raise
        code = _fail(str(error), 2)
    except Stopped as error:
        code = _fail(str(error), 128 + error.signal)
    except Failed as error:
        if debug:
            raise
        code = _fail(str(error), 1)
    except OSError as error:
        if debug:
            raise
        where = f"{error.filename}: " if error.filename else ""
        code = _fail(f"{where}{error.strerror or error}", 1)
    except Exception as error:
        if debug:
            raise
        code = _fail(f"{type(error).__name__}: {error} (--debug shows where)", 1)
    sys.exit(code or 0)


def _said(error: CycloptsError) -> str:
    """What is wrong with the command; what an option expects is said in words."""
    if isinstance(error, CoercionError) and error.token is not None and error.target_type in EXPECTED:
        return f"{error.token.keyword or ''} {error.token.value!r}: expected {EXPECTED[error.target_type]}"
    if isinstance(error, UnusedCliTokensError) and (given := (error.unused_tokens or [""])[0]) in ("true", "false"):
        return f"{given!r} alone belongs to no option: write it with an equals sign: --OPTION={given}"
    return str(error)


def _fail(message: str, code: int) -> int:
    say(f"perceivers: {' '.join(message.split())}")
    return code


if __name__ == "__main__":
    main()

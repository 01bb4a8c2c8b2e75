"""What the commands print: results on stdout, everything else on stderr. Not concerned with how results are found."""

import json
from typing import Any

from perceivers.terminal import counted, printable, say, say_rows

POWERS = {"mae": "", "mse": "²"}  # the metrics in the target's own unit


def dumps(content: Any) -> str:
    """JSON as it is printed everywhere."""
    return json.dumps(content, indent=1, ensure_ascii=False)


def metrics_lines(metrics: dict[str, Any]) -> str:
    """The metrics of each target as aligned text."""
    lines = []
    for target, found in metrics.items():
        lines.append(f"{target}  (n = {found['n']:,})")
        for name, metric in found.items():
            if isinstance(metric, dict) and metric.get("value") is not None and "low" in metric:
                interval = "" if metric["low"] is None else f"  95 %: {metric['low']:.4g} to {metric['high']:.4g}"
                unit = f" {found['unit']}{POWERS[name]}" if "unit" in found and name in POWERS else ""
                lines.append(f"  {name:<14}{metric['value']:<10.4g}{unit}{interval}")
    return "\n".join(printable(line) for line in lines)


def report_failed(failed: dict[int, str]) -> int:
    """Names the first rows that could not be read; the exit code is 1 where there are any."""
    say_rows("not read", failed)
    if failed:
        say(f"{counted(len(failed), 'row')} could not be read")
    return 1 if failed else 0

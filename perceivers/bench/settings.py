"""What `--device auto` and a number of threads left out come to. Not concerned with what is measured."""

import torch

from perceivers.errors import BadInput


def resolve(device: str, threads: int | None) -> tuple[str, int]:
    """The device and the number of threads. Raises BadInput where there is no such device, or no such number."""
    if threads is not None and threads < 1:
        raise BadInput(f"--threads {threads}: give 1 or more")
    found = torch.cuda.is_available()
    if device == "cuda" and not found:
        raise BadInput("--device cuda: torch finds no GPU here: leave it out, or install torch for your GPU")
    chosen = ("cuda" if found else "cpu") if device == "auto" else device
    return chosen, threads or torch.get_num_threads()

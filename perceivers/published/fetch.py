"""Published names to folders: in the ordinary Hub cache, or from the Hub where it can be reached.

Not concerned with what stands in a folder (`hub.py`).
"""

from pathlib import Path

from perceivers.errors import BadInput
from perceivers.published.presets import PRESETS
from perceivers.published.weights import BIN, SAFETENSORS

CONFIG = "config.json"


def fetch(name: str) -> Path:
    """The folder of a published model in the Hub's cache, downloaded if it is not there.

    Raises BadInput that says what to download by hand, where neither works.
    """
    try:
        from huggingface_hub import constants
    except ImportError as error:
        raise _by_hand(name, "a name needs huggingface_hub (pip install 'perceivers[hub]')") from error
    if folder := _cached(name):
        return folder
    return _download(name, f"not in the Hub's cache, {constants.HF_HUB_CACHE}")


def _cached(name: str) -> Path | None:
    """The folder in the cache that holds the configuration and weights, if there is one."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(name, CONFIG)
    if not isinstance(config, str) or not any((Path(config).parent / file).exists() for file in (SAFETENSORS, BIN)):
        return None
    return Path(config).parent


def _download(name: str, where: str) -> Path:
    """The folder of what the Hub holds. `where` it was looked for before, for messages."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    try:
        get_hf_file_metadata(hf_hub_url(name, CONFIG))  # tries once, where a download tries for a minute
        folder = Path(hf_hub_download(name, CONFIG)).parent
        try:
            hf_hub_download(name, SAFETENSORS)
        except EntryNotFoundError:  # older uploads have no other
            hf_hub_download(name, BIN)
    except Exception as error:  # whatever carries the requests has errors of its own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise _by_hand(name, f"{where}, and the Hub cannot be reached ({reason})") from error
    return folder


def _by_hand(name: str, why: str) -> BadInput:
    megabytes = 4 * PRESETS[name].parameters / 1e6
    return BadInput(
        f"{name}: {why}: download {CONFIG} and {SAFETENSORS} or {BIN} ({megabytes:,.0f} MB) from "
        f"https://huggingface.co/{name}/tree/main into a folder, and give that folder in place of the name"
    )

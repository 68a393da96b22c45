"""Environment variables by name: which are settings, which are secrets, and which are mistakes."""

import logging
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from urllib.parse import urlsplit

from sid_assets.core.embedders.openai_server import KEY_VARIABLE
from sid_assets.core.environment import merged_environment
from sid_assets.core.errors import InputError

PREFIX = "SID_"
WEBHOOK_VARIABLE = "SID_FAILURE_WEBHOOK"

SECRETS = {
    KEY_VARIABLE: "The API key for `SID_EMBEDDER=openai`, if the server requires one.",
    WEBHOOK_VARIABLE: "A URL that receives a JSON POST for each step that fails, where Dagster's "
    "daemon runs; empty: none.",
}
"""Variables that are read where they are used and never become settings, which are shown in the
launchpad and stored with every run."""

NO_SETTINGS = {"SID_TEST_DATA"}
"""Variables with our prefix that are not settings: the folder of the tests' catalogs."""

KUBERNETES = re.compile(
    r"SID_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
"""Variables that Kubernetes adds to every container for a service whose name begins with `sid`.
Some resemble settings."""

ALIKE_WITH_PREFIX = 0.7
"""The similarity from which a name with our prefix is taken for a misspelt setting. A name that is
less similar belongs to another program."""

ALIKE = 0.9
"""The same for a name without our prefix."""

log = logging.getLogger(__name__)


def variable(name: str) -> str:
    """The environment variable of a setting: `data_dir` -> `SID_DATA_DIR`."""
    return PREFIX + name.upper()


def require_known(environment: Mapping[str, str], settings: Iterable[str]) -> None:
    """Refuse misspelt settings; warn of names that resemble a setting but have another prefix.

    Names of other programs stop nothing, even if they have our prefix.

    Args:
        environment: All variables.
        settings: The names of the settings' variables.

    Raises:
        InputError: A variable has our prefix and resembles a setting, or the webhook is not a URL.
    """
    meaningful = {*settings, WEBHOOK_VARIABLE}
    if unknown := misspelt_with_prefix(environment, meaningful):
        raise InputError(_unknown(unknown))
    for name, meant in misspelt(environment, meaningful).items():
        log.warning("%s is not a setting and has no effect. Did you mean %s?", name, meant)
    failure_webhook(environment)


def misspelt_with_prefix(names: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Names with our prefix that are no setting but resemble one, and which setting that is."""
    ends = {_end(name): name for name in known}
    others = {name for name in names if name.startswith(PREFIX)} - {*ends.values()} - NO_SETTINGS
    found = {}
    for name in sorted(others):
        alike = get_close_matches(_end(name), ends, n=1, cutoff=ALIKE_WITH_PREFIX)
        if alike and not KUBERNETES.fullmatch(name):
            found[name] = ends[alike[0]]
    return found


def misspelt(names: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Names that are ignored although they resemble a setting, and which setting that is.

    Only the prefix or the case differ, as in `sid_seed`, `SIDSEED` and `SID-SEED`.
    """
    plain = {_plain(name): name for name in known}
    found = {}
    for name in names:
        if name.startswith(PREFIX) or not _plain(name).startswith(_plain(PREFIX)):
            continue
        if alike := get_close_matches(_plain(name), plain, n=1, cutoff=ALIKE):
            found[name] = plain[alike[0]]
    return found


def failure_webhook(environment: Mapping[str, str] | None = None) -> str:
    """The address that failures are posted to; "" if there is none.

    Args:
        environment: Variables to read instead of the environment and `.env`.

    Raises:
        InputError: It is not a URL. The message does not contain it: it usually holds a secret.
    """
    environment = merged_environment() if environment is None else environment
    address = environment.get(WEBHOOK_VARIABLE, "").strip()
    if address and not _is_url(address):
        raise InputError(
            f"{WEBHOOK_VARIABLE}: not a URL that begins with http:// or https:// and names a host. "
            "Its value is not shown, because it may hold a secret."
        )
    return address


def _is_url(address: str) -> bool:
    try:
        parts = urlsplit(address)
        _ = parts.port  # raises if it is no number
    except ValueError:
        return False
    plain = address.isascii() and address.isprintable() and " " not in address
    return plain and parts.scheme in ("http", "https") and bool(parts.hostname)


def _plain(name: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", name.upper())


def _end(name: str) -> str:
    """A name without our prefix and without underscores, which are often misplaced."""
    return _plain(name.removeprefix(PREFIX))


def _unknown(meant: Mapping[str, str]) -> str:
    settings = ", ".join(sorted({*meant.values()}))
    return (
        f"{', '.join(meant)}: no such setting. Did you mean {settings}? "
        "Check the environment and .env; `sid-assets init` writes a .env that lists all settings."
    )

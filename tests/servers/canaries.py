"""Made-up people and secrets that must not turn up, and the search for them in all we write."""

import base64
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.servers.service import PASSWORD, STORE_KEY, Setting, person

WRONG_PASSWORD = "canary-wrong-password-3K"
PEOPLE = {"address": "canary-addr", "name": "Canaryname", "entity": "canary-ent"}
"""What every cell of a kind holds, however long it is."""
SECRETS = {"password": PASSWORD, "store key": STORE_KEY, "wrong password": WRONG_PASSWORD}


def canary(number: int, **changed: str) -> dict[str, str]:
    """A person whose every cell can be found again."""
    cells = {
        "email": f"canary-addr-{number}@example.org",
        "firstname": f"Canaryname{number}",
        "lastname": f"von und zu Canaryname{number}",
        "entity-id": f"canary-ent-{number}",
    }
    return person(number, **(cells | changed))


def canaries(count: int, first: int = 1) -> list[dict[str, str]]:
    """People with consecutive numbers."""
    return [canary(number) for number in range(first, first + count)]


def session_ids(setting: Setting) -> set[str]:
    """Every session id that was used; the simulator must keep the requests' bodies."""
    return set(re.findall(r"<in0>([0-9a-f]{12,16})</in0>", setting.call_log.read_text()))


def forms(token: str) -> Iterator[bytes]:
    """A text as files and programs may write it."""
    for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
        yield token.encode(encoding)
    yield token.encode().hex().encode()
    for before in range(3):
        text = base64.b64encode(b"\0" * before + token.encode())
        # The first and the last characters depend on the neighbours.
        yield text[4 if before else 0 : -4]


def shown(content: bytes, tokens: Mapping[str, str]) -> set[str]:
    """Which tokens a content holds in any form, upper or lower case."""
    low = content.lower()
    return {
        kind
        for kind, token in tokens.items()
        if any(form in content or form.lower() in low for form in forms(token))
    }


def allowed(setting: Setting, path: Path) -> set[str]:
    """The kinds that a file of ours may hold; no secret ever."""
    parts = path.relative_to(setting.root).parts
    match parts:
        case ("inbox", *_) | ("state", "batches", *_) | ("state", "archive", *_):
            return set(PEOPLE)
        case ("quarantine", _, "report.json" | "report.html"):
            return set()
        case ("quarantine", _, *_):
            return set(PEOPLE)
        case ("responses", *_):
            return {"address", "entity"}
        case ("state", name) if name.startswith("suppressions.sqlite3"):
            # The outbox and who carries an address: both wait for the CRM.
            return {"address", "entity"}
        case _:
            return set()


def written(setting: Setting) -> Iterator[Path]:
    """Every file that processes of ours wrote, or may have written."""
    theirs = {"secret", "tls", "calls.jsonl", "etl.toml", "given"}
    for path in sorted(setting.root.rglob("*")):
        if path.is_file() and path.relative_to(setting.root).parts[0] not in theirs:
            yield path


def leaks(setting: Setting, outputs: Mapping[str, str]) -> list[tuple[str, str]]:
    """Where something is that must not be there, and what: files, then outputs of commands."""
    secrets = SECRETS | {f"session {number}": s for number, s in enumerate(session_ids(setting))}
    tokens = PEOPLE | secrets
    found = [
        (str(path.relative_to(setting.root)), kind)
        for path in written(setting)
        for kind in shown(path.read_bytes(), tokens) - allowed(setting, path)
    ]
    for name, text in outputs.items():
        found += [(name, kind) for kind in shown(text.encode(), tokens)]
    return found

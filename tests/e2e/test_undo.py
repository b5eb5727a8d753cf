"""A wrong refill taken back with the installed commands, beside the running daemon."""

import json
import re
from pathlib import Path
from typing import Any

from tests.e2e.seen import clears, schema_errors, status
from tests.servers.service import MANDATOR, Setting, people, person, setting

DONE, TROUBLE = 0, 1


def content(made: Setting) -> list[dict[str, Any]]:
    """A list in full, without the times at which Campaign stored its rows."""
    times = ("Created", "Modified", "Opt-in Date")
    return [
        {key: value for key, value in row.items() if key not in times}
        | {
            "attributes": {k: v for k, v in row.get("attributes", {}).items() if k not in times},
        }
        for row in made.control.list_content(list_id=100)
    ]


def plan(made: Setting, *words: str, code: int) -> dict[str, Any]:
    """What `etl refill plan --json` answers."""
    done = made.etl("refill", "plan", *words, "--json")
    assert done.returncode == code, done.stdout + done.stderr
    assert "@" not in done.stdout
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def receipt(made: Setting, batch: str) -> dict[str, Any] | None:
    """The receipt of a batch that is no drop."""
    for path in made.receipts_folder.glob(f"[!.]*.{batch}.receipt.json"):
        found: dict[str, Any] = json.loads(path.read_text())
        return found if found["fate"] == "archived" else None
    return None


def test_a_wrong_refill_is_taken_back_beside_the_daemon(tmp_path: Path):
    """Plan, refusal, rollback: the list is what it was, without who said no meanwhile."""
    with setting(tmp_path) as made:
        made.start()
        made.drop("a_20300101.csv", people(25))
        right = made.wait_for("a_20300101.csv", "archived")
        before = content(made)
        wrong = [person(n, firstname="Wrong", lastname="Falsch") for n in range(2, 26)]
        made.drop("a_20300102.csv", wrong)
        undone = made.wait_for("a_20300102.csv", "archived")
        assert content(made) != before
        made.control.unsubscribe(MANDATOR, ["p7@example.org"])
        calls, remote = len(made.calls()), made.remote()

        found = plan(made, "a", code=TROUBLE)
        assert (found["rollback_of"], found["undoes"]) == (right["batch"], undone["batch"])
        assert [each["code"] for each in found["guards"]] == ["returning"]
        counts = ("listed_now", "to_send", "joiners", "leavers", "changed", "unchanged")
        assert [found[name] for name in counts] == [24, 25, 1, 0, 24, 0]
        assert (found["returning"], found["dirty_list"]) == (1, False)

        refused = made.etl("refill", "rollback", "a", "--why", "wrong")
        assert (refused.returncode, refused.stderr) == (TROUBLE, "")
        assert "1 recipients are not in the newer content" in refused.stdout
        assert "etl refill rollback a --allow returning --why TEXT" in " ".join(
            refused.stdout.split()
        )
        assert status(made)["requests_waiting"] == 0
        assert len(made.calls()) == calls

        words = ("--allow", "returning", "--why", "wrong selection")
        done = made.etl("refill", "rollback", "a", *words)
        assert done.returncode == DONE, done.stderr
        asked = re.search(r"batch (\S+) is to put the rows of (\S+) back", done.stdout)
        assert asked is not None
        assert asked[2] == right["batch"]
        told = made.wait(lambda: receipt(made, asked[1]))
        assert schema_errors("receipt", told) == []
        assert (told["rollback_of"], told["upload"]) == (right["batch"], None)
        assert told["list"]["suppressed_late"] == 1
        assert content(made) == [row for row in before if row["id"] != "p7@example.org"]
        assert made.remote() == remote
        assert clears(made) == {100: 3}
        newest = status(made)["ended"][0]
        assert (newest["batch"], newest["rollback_of"]) == (asked[1], right["batch"])
        assert made.stop() == DONE

"""Drops into the inbox of the installed `etl run`, and what comes of them on every side."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from tests.e2e.seen import (
    add_client,
    case_folder,
    every_receipt_is_sound,
    report,
    status,
    table,
    told,
)
from tests.servers.service import (
    COLUMNS,
    MANDATOR,
    SCHEMA,
    Setting,
    as_csv,
    people,
    person,
    setting,
)

TYPED = [*COLUMNS, "age", "revenue", "birthday"]
TYPED_SCHEMA = {
    "fields": [
        *SCHEMA["fields"],
        {"name": "age", "type": "integer"},
        {"name": "revenue", "type": "number", "decimalChar": ","},
        {"name": "birthday", "type": "date", "format": "%d.%m.%Y"},
    ]
}
TYPED_ATTRIBUTES = {
    "firstname": "STRING", "lastname": "STRING", "entity-id": "STRING",
    "age": "INTEGER", "revenue": "DECIMAL", "birthday": "DATE",
}  # fmt: skip


class References(HTMLParser):
    """Collects whatever a page would fetch or follow."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note scripts and every attribute that names a resource."""
        loading = {"src", "href", "srcset", "data", "action", "poster", "background"}
        self.found += [f"{tag} {name}={value}" for name, value in attrs if name in loading]
        if tag in {"script", "iframe", "object", "embed", "link"}:
            self.found.append(tag)


def typed_record(cells: str) -> bytes:
    """One record of the typed drop, behind the fields that are the same in all."""
    return f"consent-1;Newsletter;EMAIL;contact;{cells}\r\n".encode()


def make_typed(made: Setting) -> None:
    """Give feed a columns that are no texts."""
    (made.root / "typed.json").write_text(json.dumps(TYPED_SCHEMA))
    made.control.set_list(list_id=100, attributes=TYPED_ATTRIBUTES)
    mapped = ", ".join(f'{name} = "{name}"' for name in TYPED_ATTRIBUTES)
    made.extra["a"] = {"schema": f'"{made.root}/typed.json"', "attributes": f"{{{mapped}}}"}
    made.write_config()


def attributes(**given: str | None) -> dict[str, str | None]:
    """The attributes of a recipient, those not named unset."""
    return {"age": None, "revenue": None, "birthday": None, **given}


def test_drop_arrives_on_every_side(tmp_path: Path):
    """Each record ends once: in remote file and list as it was dropped, in the case, or nowhere."""
    header = (";".join(TYPED) + "\r\n").encode()
    sound = [
        typed_record("00001;p1@example.org;Jürgen;Müßig;41;1234,50;03.02.1980"),
        typed_record('00002; P2@Example.ORG ;"Zoë ""Z""";"Łódź; € \r\nzweite Zeile";;;'),
        typed_record("00003;p3@exämple.test;;Ohnevorname;0;0,5;"),
    ]
    unsubscribed = typed_record("00004;p4@example.org;Ab;Gemeldet;;;")
    blocked = typed_record("00005;q5@block.test;Ge;Sperrt;;;")
    bounced = typed_record("00006;p6@example.org;Un;Zustellbar;;;")
    rejected = [
        typed_record("00007;no-address;=1+1;Formel;;;"),
        typed_record("00001;P1@example.org;Jürgen;Zweimal;;;"),
        typed_record("00008;p8@example.org;Zu;Kurz"),
        typed_record("00009;p9@example.org;Fal;Sch;viel;;"),
    ]
    with setting(tmp_path, feeds=2) as made:
        make_typed(made)
        made.control.unsubscribe(mandator=MANDATOR, ids=["p4@example.org"])
        made.control.block(mandator=MANDATOR, entries=["*@block.test"])
        made.control.bounce(mandator=MANDATOR, recipient_id="p6@example.org", times=3)
        made.start()
        made.wait(lambda: told_files(made) >= 2)
        made.control.run_export_job()
        made.drop(
            "a.csv",
            b"".join([header, sound[0], unsubscribed, rejected[0], sound[1], *rejected[1:],
                      blocked, bounced, sound[2]]),
        )  # fmt: skip
        made.drop("b.csv", people(12, first=100))
        made.drop("nobody.csv", people(1))
        receipt = made.wait_for("a.csv", "archived")
        other = made.wait_for("b.csv", "archived")
        homeless = made.wait_for("nobody.csv", "quarantined")

        # The remote files, to the byte.
        remote = made.remote()
        assert sorted(remote) == sorted([receipt["upload"]["name"], other["upload"]["name"]])
        assert remote[receipt["upload"]["name"]] == b"".join([header, *sound])
        assert remote[other["upload"]["name"]] == as_csv(people(12, first=100))
        assert re.fullmatch(rf"a-{receipt['batch']}\.csv", receipt["upload"]["name"])

        # The lists, row by row.
        assert made.control.list_content(list_id=100) == [
            {"id": "p1@example.org", "address": "p1@example.org",
             "attributes": attributes(firstname="Jürgen", lastname="Müßig", age="41",
                                      revenue="1234.5",
                                      birthday="1980-02-03T00:00:00+00:00",
                                      **{"entity-id": "00001"})},
            {"id": "p2@example.org", "address": "p2@example.org",
             "attributes": attributes(firstname='Zoë "Z"', lastname="Łódź; € \r\nzweite Zeile",
                                      **{"entity-id": "00002"})},
            {"id": "p3@xn--exmple-cua.test", "address": "p3@xn--exmple-cua.test",
             "attributes": attributes(firstname="", lastname="Ohnevorname", age="0",
                                      revenue="0.5", **{"entity-id": "00003"})},
        ]  # fmt: skip
        assert made.list_ids(1) == [f"p{n}@example.org" for n in range(100, 112)]

        # The receipts.
        assert every_receipt_is_sound(made)
        assert receipt["check"] == {
            "rows_read": 10, "accepted": 3, "rejected": 4, "suppressed": 3,
            "suppressed_by": {"bounced": 1, "unsubscribed": 1, "blocklisted": 1},
            "rejected_by": {"email": 1, "duplicate-recipient": 1, "short-record": 1, "type": 1},
        }  # fmt: skip
        listed = receipt["list"]
        assert (listed["staged"], listed["sent"], listed["listed"], listed["count"]) == (3, 3, 3, 3)
        assert (listed["clears"], listed["refused"], listed["poisoned"]) == (1, {}, 0)
        assert homeless["reason"]["code"] == "no-feed"
        assert (homeless["feed"], homeless["check"], homeless["upload"]) == (None, None, None)

        # The case.
        folder = case_folder(made, receipt)
        found = report(folder)
        assert found["outcome"] == "drop-went-on"
        assert found["rows"] == {"read": 10, "accepted": 3, "rejected": 4, "suppressed": 3}
        rows = table(folder / "rejected.csv")
        assert [(row["rejected-line"], row["rejected-codes"]) for row in rows] == [
            ("4", "email"), ("7", "duplicate-recipient"), ("8", "short-record"), ("9", "type"),
        ]  # fmt: skip
        assert (rows[0]["email"], rows[0]["firstname"]) == ("no-address", "'=1+1")
        assert rows[2]["rejected-record"] == rejected[2].decode().rstrip()
        assert all(row["rejected-hints"] for row in rows)
        page = (folder / "report.html").read_text("utf-8")
        references = References()
        references.feed(page)
        assert references.found == ["a href=./rejected.csv", "a href=./report.json"]
        assert not re.search(r"url\(|@import|https?://", page)
        assert "example" not in page
        assert "Formel" not in page
        original = case_folder(made, homeless)
        assert (original / "nobody.csv").read_bytes() == as_csv(people(1))
        assert report(original)["outcome"] == "drop-rejected"

        # The CRM's files: whom Campaign told, with the entity that carries the address.
        bounces, unsubscriptions = told(made, "bounces"), told(made, "unsubscriptions")
        assert [
            (row["recipient-id"], row["entity-type"], row["entity-id"], row["kind"], row["source"])
            for row in bounces
        ] == [("p6@example.org", "contact", "00006", "bounced", "getOutBounces")]
        assert [
            (row["recipient-id"], row["entity-id"], row["opt-in-id"], row["derived"], row["kind"],
             row["source"])
            for row in unsubscriptions
        ] == [
            ("p4@example.org", "00004", "consent-1", "yes", "unsubscribed", "getUnsubscribes"),
        ]  # fmt: skip

        # The journal, and what is left in the inbox.
        answer = status(made)
        assert (answer["under_way"], answer["requests_waiting"]) == ([], 0)
        places = {one["name"]: (one["place"], one["code"]) for one in answer["ended"]}
        assert places == {
            "a.csv": ("ARCHIVED", None), "b.csv": ("ARCHIVED", None),
            "nobody.csv": ("QUARANTINED", "no-feed"),
        }  # fmt: skip
        assert [p for p in made.inbox.rglob("*") if p.is_file()] == []
        assert made.stop() == 0


def told_files(made: Setting) -> int:
    """How many files the CRM has."""
    return len(list(made.responses.glob("*.csv")))


def addressed(rows: list[dict[str, str]]) -> dict[str, list[str]]:
    """Sources by recipient id."""
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["recipient-id"], []).append(row["source"])
    return found


def test_every_code_ends_where_it_belongs(tmp_path: Path):
    """1, 6, 7 end in the case; 2, 3, 4 are suppressed from then on and told the CRM; 5 is there."""
    with setting(tmp_path) as made:
        control, rows = made.control, people(40)
        made.extra["a"] = {"guards": "{min_rows = 1, believe_count_after_seconds = 0.2}"}
        made.write_config()
        for number, code in ((1, 1), (6, 6), (7, 7)):
            control.code_for(list_id=100, recipient_id=f"p{number}@example.org", code=code)
        control.code_for(list_id=100, recipient_id="p8@example.org", code=7, times=2)
        control.poison(list_id=100, recipient_id="p9@example.org")
        # After the last live check, before the first rows are sent.
        for verb, arguments in (
            ("unsubscribe", {"mandator": MANDATOR, "ids": ["p12@example.org"]}),
            ("block", {"mandator": MANDATOR, "entries": ["p13@example.org"]}),
            ("bounce", {"mandator": MANDATOR, "recipient_id": "p14@example.org", "times": 3}),
        ):
            control.schedule("addAll3", "verb-before", verb=verb, arguments=arguments)
        # The answer to the last of the first chunks is lost: sent again, all its rows answer 5.
        control.schedule("clear", "verb-after", verb="schedule", arguments={
            "method": "addAll3", "what": "drop-after", "nth": 12,
        })  # fmt: skip
        made.start()
        made.drop("a_20300101.csv", rows)
        first = made.wait_for("a_20300101.csv", "archived", "held")
        gone = {1, 6, 7, 9, 12, 13, 14}
        left = [f"p{n}@example.org" for n in range(1, 41) if n not in gone]
        assert sorted(made.list_ids()) == sorted(left)
        listed = first["list"]
        assert first["fate"] == "archived"
        assert listed["refused"] == {
            "code-1": 1, "code-2": 1, "code-3": 1, "code-4": 1, "code-6": 1, "code-7": 1,
        }  # fmt: skip
        assert (listed["sent"], listed["listed"], listed["poisoned"]) == (40, 33, 1)
        assert (listed["count"], listed["clears"], listed["suppressed_late"]) == (33, 1, 0)
        assert {note["code"] for note in first["notes"]} == {"many-refused"}
        answers = [call["codes"] or {} for call in made.calls("addAll3")]
        assert sum(codes.get("5", 0) for codes in answers) > 0, "no chunk was sent again"
        assert sum(codes.get("7", 0) for codes in answers) == 5, "7 is tried three times"

        folder = case_folder(made, first)
        refused = table(folder / "refused.csv")
        assert [(row["line"], row["recipient-id"], row["code"]) for row in refused] == [
            ("2", "p1@example.org", "code-1"), ("7", "p6@example.org", "code-6"),
            ("8", "p7@example.org", "code-7"), ("10", "p9@example.org", "poisoned"),
        ]  # fmt: skip
        assert report(folder)["refused"]["rows"] == 4

        # The next day the three are suppressed by what was learned, and the CRM is told of them.
        made.drop("a_20300102.csv", rows)
        second = made.wait_for("a_20300102.csv", "archived", "held")
        assert second["fate"] == "archived"
        assert second["check"]["suppressed"] == 3
        assert second["check"]["suppressed_by"] == {
            "bounced": 1, "unsubscribed": 1, "blocklisted": 1,
        }  # fmt: skip
        assert second["list"]["sent"] == 37
        assert {note["code"] for note in second["notes"]} == {"many-refused", "same-content"}
        remote = made.remote()[second["upload"]["name"]].decode()
        for number in (12, 13, 14):
            assert f";p{number}@example.org;" not in remote
        assert addressed(told(made, "bounces")) == {"p14@example.org": ["code-4"]}
        assert addressed(told(made, "unsubscriptions")) == {
            "p12@example.org": ["code-2"], "p13@example.org": ["code-3"],
        }  # fmt: skip
        assert every_receipt_is_sound(made)


def test_no_once_said_is_kept(tmp_path: Path):
    """Who unsubscribes between two days is not sent again, under no address, and is told once."""
    with setting(tmp_path) as made:
        control = made.control
        made.extra["a"] = {"guards": "{min_rows = 1, max_shrink = 0.5}"}
        made.write_config()
        made.start()
        made.drop("a_20300101.csv", people(10))
        made.wait_for("a_20300101.csv", "archived")
        assert len(made.list_ids()) == 10
        control.unsubscribe(mandator=MANDATOR, ids=["p4@example.org"])
        control.unsubscribe(mandator=MANDATOR, ids=["stranger@example.org"])
        control.bounce(mandator=MANDATOR, recipient_id="p5@example.org", times=3)
        assert control.run_export_job() >= 3

        # p6 says no after the job ran: only the live check can know.
        control.unsubscribe(mandator=MANDATOR, ids=["p6@example.org"])
        made.drop("a_20300102.csv", people(10))
        second = made.wait_for("a_20300102.csv", "archived", "held")
        left = [f"p{n}@example.org" for n in (1, 2, 3, 7, 8, 9, 10)]
        assert made.list_ids() == left
        kept = [row for row in people(10) if row["email"] in left]
        assert made.remote()[second["upload"]["name"]] == as_csv(kept)
        assert second["check"]["suppressed_by"] == {
            "bounced": 1, "unsubscribed": 2, "blocklisted": 0,
        }  # fmt: skip

        # Under a new address p4 is still the one who said no; p5's bounce was the address's.
        moved = [
            person(4, email="new4@example.org"), person(5, email="new5@example.org"),
            *people(3), *people(4, first=7),
        ]  # fmt: skip
        made.drop("a_20300103.csv", moved)
        third = made.wait_for("a_20300103.csv", "archived", "held")
        assert third["fate"] == "archived"
        assert made.list_ids() == ["new5@example.org", *left]
        assert third["check"]["suppressed_by"]["unsubscribed"] == 1

        unsubscriptions = told(made, "unsubscriptions")
        assert addressed(unsubscriptions) == {
            "p4@example.org": ["getUnsubscribes"], "stranger@example.org": ["getUnsubscribes"],
            "p6@example.org": ["live-check"],
        }  # fmt: skip
        by_id = {row["recipient-id"]: row for row in unsubscriptions}
        assert by_id["p4@example.org"]["entity-id"] == "00004"
        stranger = by_id["stranger@example.org"]
        assert (stranger["entity-type"], stranger["entity-id"], stranger["opt-in-id"]) == ("",) * 3
        assert [(row["recipient-id"], row["entity-id"]) for row in told(made, "bounces")] == [
            ("p5@example.org", "00005"),
        ]
        assert every_receipt_is_sound(made)


def test_feeds_of_every_form(tmp_path: Path):
    """Sftp only, list only, done-marker, UTF-16, cp1252, another output, ids of entities."""
    extra: dict[str, dict[str, Any]] = {
        "a": {"list": "", "attributes": ""},
        "b": {"sftp": ""},
        "c": {"done_marker": '".done"'},
        "d": {"csv": '{encoding = "utf-16", delimiter = "\\t"}'},
        "e": {"csv": '{encoding = "windows-1252"}'},
        "f": {"output": '{delimiter = "|", columns = ["email", "lastname"]}'},
        "g": {
            "client": '"entities"', "list": '{id = 206, name = "List 206"}',
            "recipient": '{id = "entity"}',
        },
    }  # fmt: skip
    with setting(tmp_path, feeds=7) as made:
        made.extra = extra
        add_client(made, "entities", 5151, [206])
        made.control.unsubscribe(mandator=5151, ids=["contact:00003"])
        made.write_config()
        rows = people(5)
        text = as_csv(rows).decode()
        made.start()
        for name in "abceg":
            made.drop(f"{name}.csv", text.encode("cp1252" if name == "e" else "utf-8"))
        made.drop("d.csv", text.replace(";", "\t").encode("utf-16"))
        made.drop("f.csv", [*rows[:4], person(5, lastname="a|b")])
        ends = {name: made.wait_for(f"{name}.csv", "archived", "held") for name in "abdefg"}
        assert {end["fate"] for end in ends.values()} == {"archived"}

        # Without its marker the drop of c lies there; with it, it goes.
        assert (made.inbox / "c.csv").exists()
        (made.inbox / "c.csv.done").touch()
        ends["c"] = made.wait_for("c.csv", "archived", "held")
        assert not (made.inbox / "c.csv.done").exists()

        ids = [row["email"] for row in rows]
        for number in (1, 2, 3, 4, 5):
            assert made.list_ids(number) == ids
            content = made.control.list_content(list_id=100 + number)
            assert content[0]["attributes"]["lastname"] == "Müßig"
        assert made.list_ids(0) == []
        assert (ends["a"]["list"], ends["b"]["upload"]) == (None, None)
        remote = made.remote()
        assert {name for name in ends if ends[name]["upload"]} == set("acdefg")
        assert len(remote) == 6

        def uploaded(name: str) -> str:
            return remote[ends[name]["upload"]["name"]].decode("utf-8")

        assert {uploaded(name) for name in "ace"} == {text}
        assert uploaded("d") == text.replace(";", "\t")
        assert uploaded("f").split("\r\n") == [
            "email|lastname", *(f"{row['email']}|Müßig" for row in rows[:4]),
            'p5@example.org|"a|b"', "",
        ]  # fmt: skip
        content = made.control.list_content(list_id=206)
        assert [(row["id"], row["address"]) for row in content] == [
            (f"contact:{n:05}", f"p{n}@example.org") for n in (1, 2, 4, 5)
        ]
        assert uploaded("g") == as_csv([*rows[:2], *rows[3:]]).decode()
        (row,) = told(made, "unsubscriptions")
        assert (row["recipient-id"], row["entity-id"]) == ("contact:00003", "00003")
        assert every_receipt_is_sound(made)

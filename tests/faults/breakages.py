"""Ways to break the protocol, and which test must catch each.

Every breakage is a change of the source text, made in a copy of the tree; see test_breakages.
"""

from dataclasses import dataclass

REFILL, UPLOAD = "etl/load/refill.py", "etl/load/upload.py"
JOURNAL, PIPELINE = "etl/journal/refills.py", "etl/pipeline.py"
POWER = "-m long tests/faults/test_power_cuts.py -k each"
KILLS = "-m long tests/faults/test_every_call.py::test_every_death[0]"
DISK = "-m long tests/faults/test_disk_errors.py::test_every_error_of_a_disk[5]"
LINES = "-m long tests/faults/test_network.py -k spots_of_the_protocol"
SAID_NO = "tests/faults/test_said_no.py"
HISTORIES = "tests/faults/test_history.py::test_any_short_history"
LIFE, REFILLS = "tests/unit/test_life.py", "tests/unit/load/test_refill.py"


@dataclass(frozen=True, slots=True)
class Breakage:
    """One change that must not go unseen."""

    name: str
    edits: tuple[tuple[str, str, str], ...]
    """File, what stands there exactly once, what takes its place."""
    caught_by: str
    """What pytest is given; it stops at the first that fails."""
    by: str
    """Which test that must be."""


BREAKAGES = (
    Breakage(
        "no fsync of a folder",
        (("etl/durable.py",
          "    try:\n        os.fsync(descriptor)\n    except OSError as error:",
          "    try:\n        pass\n    except OSError as error:"),),
        POWER,
        "test_every_power_cut",
    ),
    Breakage(
        "no fsync of a file",
        (("etl/durable.py", "            os.fsync(descriptor)\n        finally:",
          "        finally:"),),
        POWER,
        "test_every_power_cut",
    ),
    Breakage(
        "synchronous NORMAL in place of FULL",
        (("etl/sqlite_file.py", "PRAGMA synchronous=FULL", "PRAGMA synchronous=NORMAL"),
         ("etl/sqlite_file.py", "synchronous != 2:", "synchronous != 1:")),
        POWER,
        "test_every_power_cut",
    ),
    Breakage(
        "a failed fsync is not looked at",
        (("etl/durable.py", "            os.fsync(descriptor)\n        finally:",
          "            with contextlib.suppress(OSError):\n                os.fsync(descriptor)\n"
          "        finally:"),),
        "tests/unit/test_durable.py",
        "test_a_failed_fsync_keeps_the_old_file_and_is_not_repeated",
    ),
    Breakage(
        "clear without an intent before it",
        ((REFILL, "        elders = self.elders()\n",
          "        self.campaign.clear(self.plan.list_id)\n        elders = self.elders()\n"),),
        f"{HISTORIES}[0]",
        "test_any_short_history",
    ),
    Breakage(
        "clear before the guards",
        ((REFILL, "        late = self.suppressed_now(rows)\n        self.journal",
          "        self.campaign.clear(self.plan.list_id)\n"
          "        late = self.suppressed_now(rows)\n        self.journal"),),
        REFILLS,
        "test_a_refill_makes_the_list_hold_exactly_the_staged_rows",
    ),
    Breakage(
        "refill without a clear",
        ((REFILL, "            self.campaign.clear(self.plan.list_id)\n        self.journal",
          "            pass\n        self.journal"),),
        REFILLS,
        "test_a_refill_makes_the_list_hold_exactly_the_staged_rows",
    ),
    Breakage(
        "add without an intent before it",
        ((REFILL, "            codes = bytes(self.campaign.add(self.plan.list_id, "
                  "self._recipients(rows)))",
          "            self._answered(under_way, ledger, call, None)\n"
          "            codes = bytes(self.campaign.add(self.plan.list_id, "
          "self._recipients(rows)))"),),
        f"{HISTORIES}[0]",
        "test_any_short_history",
    ),
    Breakage(
        "a call in doubt taken as sent",
        ((REFILL, "        self._answered(under_way, ledger, doubtful, None)\n        return True",
          "        self._answered(under_way, ledger, doubtful, bytes(len(doubtful.rows)))\n"
          "        return True"),),
        REFILLS,
        "test_a_lost_answer_is_settled_by_the_count_without_a_clear",
    ),
    Breakage(
        "no count is looked at",
        ((REFILL, "        if not low <= count <= high:\n            return False\n", ""),
         (REFILL, "            if not low <= before <= most:\n                return None\n", ""),
         (REFILL, "        if count > high:\n            return None\n", "")),
        f"{REFILLS}::test_a_foreign_writer_costs_a_further_clear",
        "test_a_foreign_writer_costs_a_further_clear",
    ),
    Breakage(
        "clears without a bound",
        ((REFILL, "FURTHER_CLEARS = 2", "FURTHER_CLEARS = 99"),),
        f"{REFILLS}::test_after_two_further_clears_the_refill_is_held",
        "test_after_two_further_clears_the_refill_is_held",
    ),
    Breakage(
        "the remove calls are left out",
        ((REFILL, "        purged = self.campaign.purge(self.plan.list_id)\n",
          "        purged = type('Purged', (), {'unsubscribed': 0, 'blocklisted': 0})\n"),),
        SAID_NO,
        "test_a_no_at_some_moments",
    ),
    Breakage(
        "code 5 counted as a loss",
        (("etl/load/outcome.py", "listed=counts[INSERTED] + counts[ALREADY],",
          "listed=counts[INSERTED],"),),
        REFILLS,
        "test_a_lost_answer_is_settled_by_the_count_without_a_clear",
    ),
    Breakage(
        "a chunk that fails is not halved",
        ((REFILL, "            if len(rows) == 1:\n                self._poison(ledger, rows[0], words)",
          "            if rows:\n                for row in rows:\n"
          "                    self._poison(ledger, row, words)"),),
        REFILLS,
        "test_a_poisonous_row_is_found_by_halving",
    ),
    Breakage(
        "suppression asked only at the check",
        ((REFILL, "        late = self.suppressed_now(rows)\n        self.journal",
          "        late = {}\n        self.journal"),
         (REFILL, "late = self.suppressed_now(due) if due else {}", "late = {}")),
        SAID_NO,
        "test_a_no_at_some_moments",
    ),
    Breakage(
        "suppression not asked again when a refill is taken up",
        ((REFILL, "late = self.suppressed_now(due) if due else {}", "late = {}"),),
        HISTORIES,
        "test_any_short_history",
    ),
    Breakage(
        "Campaign not asked, the store alone",
        (("etl/staging.py",
          "    live = refused_live(world, feed, rest)\n", "    live = stored.clear()\n"),),
        LIFE,
        "test_a_held_batch_goes_on_by_itself",
    ),
    Breakage(
        "takeover in two transactions",
        ((JOURNAL,
          "                self._batches.move_in(db, old, Place.SUPERSEDED, at, \"superseded\", "
          "{\"by\": batch.id})\n            dirty",
          "                self._batches.move_in(db, old, Place.SUPERSEDED, at, \"superseded\", "
          "{\"by\": batch.id})\n        with self._db.write() as db:\n            dirty"),),
        "-m long tests/faults/test_takeover.py",
        "test_death_at_any_commit_of_a_takeover",
    ),
    Breakage(
        "a dirty list is forgotten by a takeover",
        ((JOURNAL, "            if dirty:\n                raise GuardTripped(\"outdated\")\n", ""),
         ("etl/daemon.py", "            if batch.order < dirty:\n                break\n", "")),
        f"{LIFE} {HISTORIES}",
        "test_any_short_history",
    ),
    Breakage(
        "the upload decided by the final name",
        ((UPLOAD, "            and self.drop.stat(intent.temporary) is None",
          "            and self.drop.stat(intent.name) is not None"),),
        LIFE,
        "test_a_file_taken_away_is_not_uploaded_again",
    ),
    Breakage(
        "no intent before the rename",
        ((UPLOAD, "        self.journal.uploads.intend_upload(self.batch, intent, "
                  "self.clock.wall())\n        self.drop.rename(temporary, name)\n",
          "        self.drop.rename(temporary, name)\n"
          "        self.journal.uploads.intend_upload(self.batch, intent, self.clock.wall())\n"),),
        f"{LIFE} {HISTORIES}",
        "test_a_file_taken_away_is_not_uploaded_again",
    ),
    Breakage(
        "the intent outlives the temporary name",
        ((PIPELINE, """            # The intent goes first: a temporary name that we took away proves no rename.
            world.journal.uploads.begin_upload(batch, left["account"], left["left"])
""", ""),),
        LIFE,
        "test_a_temporary_name_that_we_took_away_proves_no_rename",
    ),
    Breakage(
        "whoever only we suppress is left to the count",
        ((REFILL, "        if before > low and self._stays_unseen(ledger):\n"
                  "            return None\n", ""),),
        REFILLS,
        "test_whoever_only_we_suppress_hides_behind_nobody",
    ),
    Breakage(
        "uploaded under the final name at once",
        ((UPLOAD, "        self.drop.put(source, temporary)\n",
          "        self.drop.put(source, name)\n        self.drop.put(source, temporary)\n"),),
        f"{HISTORIES}[0]",
        "test_any_short_history",
    ),
    Breakage(
        "a size that differs after the upload is not looked at",
        (("etl/wire/sftp.py", "        if remote_bytes != size_bytes:\n            if",
          "        if remote_bytes is None:\n            if"),),
        "tests/contract/test_file_drop.py tests/integration/test_sftp.py",
        "test_size_is_another",
    ),
    Breakage(
        "the source removed before it is archived",
        ((PIPELINE, "        if batch.place is not Place.QUARANTINED:\n            archive(",
          "        tidy(world.batches, batch.id, keep_staged=True)\n"
          "        world.inbox.drop_claim(batch.id, batch.name)\n"
          "        if batch.place is not Place.QUARANTINED:\n            archive("),),
        LIFE,
        "test_a_drop_goes_all_the_way",
    ),
    Breakage(
        "an end said to be carried out before it is",
        ((PIPELINE, "        world.inbox.check_identity()\n        if batch.place",
          "        self._batches.finished(batch, world.clock.wall())\n"
          "        world.inbox.check_identity()\n        if batch.place"),),
        KILLS,
        "test_every_death",
    ),
    Breakage(
        "an empty consent counted as one",
        (("etl/transform/consent.py",
          'return ~cell.is_in(list(missing_values)) & (cell.str.strip_chars() != "")',
          "return cell.is_not_null()"),),
        "tests/unit/transform tests/property/test_check.py",
        "test_a_bad_row_gets_its_reason_and_costs_only_itself",
    ),
    Breakage(
        "two consents in one drop let through",
        (("etl/transform/consent.py", "        if len(values) > 1:", "        if len(values) > 99:"),),
        "tests/unit/transform",
        "test_two_consents_refuse_the_drop",
    ),
    Breakage(
        "what a pattern cannot judge is mailed",
        (("etl/transform/suppress.py", "fill_null(value=True)", "fill_null(value=False)"),),
        "tests/unit/transform",
        "test_what_a_pattern_cannot_judge_is_not_mailed",
    ),
    Breakage(
        "a drop taken at first sight",
        (("etl/extract/settle.py", "observed[name].equal >= patience.sightings", "True"),),
        "tests/unit/extract tests/unit/test_intake.py",
        "test_a_file_settles_at_the_third_equal_sighting",
    ),
    Breakage(
        "another instance's claims adopted",
        (("etl/extract/inbox.py", "self._claims = folder / CLAIMED / instance",
          'self._claims = folder / CLAIMED / "etl"'),),
        "tests/unit/extract tests/unit/test_intake.py tests/faults/test_restart.py",
        "test_a_link_in_place_of_a_claimed_file_is_never_followed",
    ),
    Breakage(
        "two daemons on one state folder",
        (("etl/app.py", "fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)",
          "fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)"),),
        "tests/faults/test_restart.py",
        "test_second_daemon_on_the_same_state",
    ),
    Breakage(
        "an empty journal beside the rest of the state folder",
        (("etl/app.py", "        _refuse_lost_journal(settings.folders.state)\n", ""),),
        "tests/faults/test_journal_trouble.py",
        "test_a_damaged_journal_stops_the_start",
    ),
    Breakage(
        "a damaged journal is not looked at",
        (("etl/sqlite_file.py",
          "            if found and walked and self.connection.execute(check)"
          ".fetchone()[0] != \"ok\":\n",
          "            if False:\n"),),
        "tests/faults/test_journal_trouble.py tests/unit/journal",
        "test_a_damaged_journal_stops_the_start",
    ),
    Breakage(
        "a rollback brings people back unseen",
        (("etl/refilling.py", "        if batch.rollback_of is not None:\n",
          "        if False:\n"),),
        "tests/unit/test_rollback.py",
        "test_people_the_newer_drop_left_out_do_not_come_back_unseen",
    ),
    Breakage(
        "a rollback made twice by a death",
        (("etl/journal/rollbacks.py",
          "            db.execute(\n                \"UPDATE requests SET taken_at=?, ",
          "        with self._db.write() as db:\n"
          "            db.execute(\n                \"UPDATE requests SET taken_at=?, "),),
        "-m long tests/faults/test_undo_kills.py",
        "test_every_death_on_the_way_back",
    ),
    Breakage(
        "a session is never renewed",
        (("etl/wire/session.py",
          "if login is None or now - login.since >= self.access.session_minutes * 60:",
          "if login is None:"),),
        "tests/unit/wire/test_session.py",
        "test_a_session_is_renewed_at_fifteen_minutes",
    ),
    Breakage(
        "a write that takes fewer bytes taken as whole",
        (("etl/durable.py", "            left = left[os.write(descriptor, left) :]",
          "            os.write(descriptor, left)\n            left = left[len(left) :]"),),
        DISK,
        "test_every_error_of_a_disk",
    ),
    Breakage(
        "a drop like the last one is not refilled",
        ((PIPELINE, "        upload = None\n        if feed.sftp is not None:",
          "        last = self._batches.last_refill(feed.name)\n"
          "        if last is not None and last.sha256 == batch.sha256:\n"
          "            facts = {\"by\": self._batches.completed(feed.name, 1)[0]}\n"
          "            return self._end(batch, Place.SUPERSEDED, \"superseded\", facts)\n"
          "        upload = None\n        if feed.sftp is not None:"),),
        SAID_NO,
        "test_a_no_at_some_moments",
    ),
    Breakage(
        "the far side is not asked whether the rename happened",
        ((UPLOAD, "and self.drop.stat(intent.temporary) is None", "and False"),),
        LINES,
        "test_the_spots_of_the_protocol",
    ),
    Breakage(
        "a lost answer counts as success",
        ((REFILL,
          "            if not error.in_doubt:\n"
          "                self._answered(under_way, ledger, call, None)\n            raise\n",
          "            self._answered(under_way, ledger, call, bytes(len(rows)))\n"
          "            return call, None\n"),),
        LINES,
        "test_the_spots_of_the_protocol",
    ),
)  # fmt: skip

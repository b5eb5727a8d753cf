"""Every code this service gives, its sentence and its hint. `docs/reasons.md` is made from here.

A code is part of the interface: it is never renamed, never reused. Sentences hold places for
facts (`{rows}`); a fact is a number or a name from the configuration, never a cell.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class About(StrEnum):
    """What a code is given to."""

    ROW = "row"
    DROP = "drop"
    INBOX = "inbox"
    GUARD = "guard"
    WORLD = "world"
    LIST = "list"
    NOTE = "note"
    STATE = "state"


class _Known(dict[str, object]):
    def __missing__(self, key: str) -> str:
        return "?"


@dataclass(frozen=True, slots=True)
class Reason:
    """A code's subject, sentence and hint."""

    about: About
    sentence: str
    hint: str

    def words(self, facts: Mapping[str, object]) -> str:
        """Fill the facts in; a missing fact shows as `?`."""
        return self.sentence.format_map(_Known(facts))


_R, _D, _I, _G, _W, _L, _N, _S = (
    About.ROW, About.DROP, About.INBOX, About.GUARD, About.WORLD, About.LIST, About.NOTE, About.STATE,
)  # fmt: skip

REASONS: dict[str, Reason] = {
    # --- rows: structure -------------------------------------------------------------------
    "bad-bytes": Reason(_R, "holds bytes that are not {encoding}", "export the file in the encoding the feed names, or name the file's encoding in the feed"),
    "nul-byte": Reason(_R, "holds a NUL byte", "remove the control character in the CRM record"),
    "control-character": Reason(_R, "{field} holds a character that XML 1.0 forbids", "remove the control character in the CRM record"),
    "open-quote": Reason(_R, "opens a quote that is never closed", "close the quote, and double every quote inside a quoted field"),
    "text-after-quote": Reason(_R, "has text after a closing quote", "double every quote inside a quoted field"),
    "quote-in-field": Reason(_R, "has a quote inside an unquoted field", "put the field in quotes and double the quote"),
    "lone-cr": Reason(_R, "holds a carriage return outside quotes that ends no line", "end lines with CRLF or LF"),
    "short-record": Reason(_R, "has fewer fields than the header", "export every column in every row, empty ones too"),
    "long-record": Reason(_R, "has more fields than the header", "quote fields that hold the delimiter"),
    "blank-line": Reason(_R, "is a blank line", "remove it"),
    "line-too-long": Reason(_R, "is longer than {limit} bytes", "shorten the free text, or raise limits.line_bytes"),
    # --- rows: rules of the schema ---------------------------------------------------------
    "required": Reason(_R, "{field} is empty", "fill the field in the CRM"),
    "type": Reason(_R, "{field} is not a {constraint}", "write the value as the schema says"),
    "enum": Reason(_R, "{field} is none of the allowed values", "use one of the schema's values"),
    "pattern": Reason(_R, "{field} does not match the pattern", "write the value as the schema's pattern says"),
    "min-length": Reason(_R, "{field} is shorter than {constraint}", "complete the value"),
    "max-length": Reason(_R, "{field} is longer than {constraint}", "shorten the value"),
    "minimum": Reason(_R, "{field} is below {constraint}", "correct the value"),
    "maximum": Reason(_R, "{field} is above {constraint}", "correct the value"),
    "unique": Reason(_R, "{field} holds a value that line {other_line} holds too", "remove the duplicate from the selection"),
    "email": Reason(_R, "{field} is not an e-mail address that Campaign takes", "correct the address in the CRM"),
    "empty-consent": Reason(_R, "{field} is empty", "every row carries the consent it was selected by"),
    "entity-type": Reason(_R, "{field} names an entity type that the feed does not allow", "select one kind of record per feed, or allow the type in the feed"),
    "duplicate-recipient": Reason(_R, "is the same recipient as line {other_line}, which is kept", "select every recipient once"),
    "ambiguous-recipient": Reason(_R, "is the same recipient as line {other_line}; the feed keeps none of them", "select every recipient once"),
    # --- drops -------------------------------------------------------------------------------
    "no-feed": Reason(_D, "no feed's pattern fits this file name", "rename the file, or add a feed"),
    "two-feeds": Reason(_D, "several feeds fit this file name: {feeds}", "make the patterns exclude each other"),
    "empty-file": Reason(_D, "the file has no bytes", "look at the CRM's export job; an empty list is never refilled"),
    "no-rows": Reason(_D, "no row is left to send ({rows} read)", "look at the CRM's selection; an empty list is never refilled"),
    "too-large": Reason(_D, "the file has {size_bytes} bytes, more than {limit}", "split the selection, or raise limits.file_bytes"),
    "too-many-columns": Reason(_D, "the header has {columns} columns, more than {limit}", "export fewer columns"),
    "not-csv": Reason(_D, "the file's first bytes are those of {kind}", "export as CSV"),
    "wrong-encoding": Reason(_D, "the header is not {encoding}", "export in the encoding the feed names, or name the file's encoding in the feed"),
    "broken-header": Reason(_D, "the header cannot be read: {detail}", "look at the first line of the file"),
    "missing-column": Reason(_D, "the header lacks {columns}", "export every column the schema names"),
    "missing-technical-field": Reason(_D, "the header lacks the technical field {columns}", "export opt-in-id, description, media-type, entity-type and entity-id"),
    "extra-column": Reason(_D, "the header has columns the schema does not name: {columns}", 'remove them, or set extra_columns = "ignore" in the feed'),
    "duplicate-column": Reason(_D, "the header names {columns} more than once", "name every column once"),
    "empty-column-name": Reason(_D, "column {column} of the header has no name", "name every column"),
    "truncated": Reason(_D, "the last line has no line end, so the file may be cut off", 'write the file completely, or set final_newline = "optional" in the feed'),
    "mixed-consents": Reason(_D, "{field} holds {count} values: {values}", "one drop carries one consent; split the selection"),
    "wrong-consent": Reason(_D, "{field} is {value}, the feed is for {expected}", "drop the file under the name of the feed its consent belongs to"),
    "too-many-rejected": Reason(_D, "{rejected} of {rows} rows break a rule, more than the feed allows", "mend the file and drop it again, or raise the feed's threshold"),
    "crashed-checking": Reason(_D, "the process died {deaths} times while it checked this file", "send the case to whoever keeps this service"),
    # --- inbox -------------------------------------------------------------------------------
    "not-a-file": Reason(_I, "{name} is a {kind}, not a regular file; it is left alone", "put regular files into the inbox"),
    "not-readable": Reason(_I, "{name} cannot be read; it waits", "let this service read the file"),
    "no-room": Reason(_I, "{name} needs {needed_bytes} bytes of free disk, {free_bytes} are there; it waits", "free some disk space; goes on by itself"),
    "not-movable": Reason(_I, "{name} cannot be claimed; it waits", "let this service move files out of the inbox"),
    "several-links": Reason(_I, "{name} has more than one link, so others may still write it; it is left alone", "copy the file into the inbox"),
    "bad-name": Reason(_I, "{name} is no file name this service takes; it is left alone", "use printable characters, at most 200 bytes"),
    "foreign-claim": Reason(_I, "files claimed by another instance lie in {folder}", "start that instance, or move its files back into the inbox by hand"),
    "inbox-lost": Reason(_I, "the inbox is not the folder it was at start", "mount the share again; restart the service if it does not go on by itself"),
    # --- guards of rows (can be released) ------------------------------------------------------
    "min-rows": Reason(_G, "{rows} rows to send, fewer than min_rows = {limit}", "look at the selection; `etl release BATCH --allow min-rows --why TEXT` if it is right"),
    "shrunk": Reason(_G, "{rows} rows to send, {percent} % less than the {base} of the last refill", "look at the selection; `etl release BATCH --allow shrunk --why TEXT` if it is right"),
    "grown": Reason(_G, "{rows} rows to send, {percent} % more than the {base} of the last refill", "look at the selection; `etl release BATCH --allow grown --why TEXT` if it is right"),
    "first-refill": Reason(_G, "there is nothing to compare the {rows} rows with", "set min_rows in the feed, or `etl release BATCH --allow first-refill --why TEXT`"),
    "outdated": Reason(_G, "the drop is older than the one the list was last refilled from", "`etl discard BATCH --why TEXT`, or `etl release BATCH --allow outdated --why TEXT`"),
    "returning": Reason(_G, "{returning} recipients are not in the newer content and would return with the former one", "see `etl refill plan FEED`; `etl release BATCH --allow returning --why TEXT` if they may be mailed, else `etl discard BATCH --why TEXT`"),
    # --- guards of the world (let go by themselves) --------------------------------------------
    "suppression-missing": Reason(_W, "bounces, unsubscriptions and blocklist were never fetched completely", "see `etl responses status`; goes on by itself after a complete fetch"),
    "suppression-stale": Reason(_W, "the last complete fetch is {hours} hours old, more than {limit}", "see `etl responses status`; goes on by itself after a complete fetch"),
    "store-shrunk": Reason(_W, "the suppression store has {now} entries, the journal counted {before}", "restore the state folder as a whole from one backup: journal and store belong together"),
    "crm-not-taken": Reason(_W, "the CRM has not taken {files} files of response data yet", "goes on by itself when they are taken, or {minutes} minutes after they were handed over"),
    "response-gap": Reason(_W, "Campaign may have forgotten {hours} hours of {call} before they were read", "whoever bounced or unsubscribed then is found by the live check of the next drop; tell the CRM's people that its files lack that time"),
    "suppression-shrunk": Reason(_W, "the suppression data has shrunk from {before} to {now} entries", "look at the blocklist in Campaign; raise suppression.max_shrink for once if it is right"),
    "wrong-list": Reason(_W, "list {list_id} is called {name}, the feed pins {expected}", "correct list.id or list.name in the feed; nothing was cleared"),
    "test-list": Reason(_W, "list {list_id} is a test list", "use a regular list"),
    "missing-attribute": Reason(_W, "list {list_id} has no attribute {attributes}", "add it in Campaign, or take it out of the feed's attributes"),
    "feed-gone": Reason(_W, "the configuration has no feed {feed} any more", "bring the feed back, or `etl discard BATCH --why TEXT`"),
    "list-changed": Reason(_W, "the batch left list {was} partial, the feed now names {now}", "bring the old list back into the feed until the batch has ended; both lists are left alone"),
    "other-consent": Reason(_W, "the rows were checked under another consent than {expected}, the feed's", "drop a new export, it takes its place; or `etl discard BATCH --why TEXT`"),
    "staged-old": Reason(_W, "the drop was claimed {hours} hours ago, more than {limit}", "drop a new export, it takes its place; or `etl discard BATCH --why TEXT`"),
    "crashed-uploading": Reason(_W, "the process died {deaths} times while it uploaded the file", "tried again by itself; send the log to whoever keeps this service"),
    "crashed-ending": Reason(_W, "the process died {deaths} times while it carried out an end", "tried again by itself; send the log to whoever keeps this service"),
    "crashed-refilling": Reason(_W, "the process died {deaths} times while it refilled the list", "tried again by itself; send the log to whoever keeps this service"),
    "disk-floor": Reason(_W, "{free_bytes} bytes are free, {needed_bytes} are needed", "free some disk space; goes on by itself"),
    # --- far sides -----------------------------------------------------------------------------
    "campaign-unreachable": Reason(_W, "Campaign does not answer ({detail})", "tried again by itself"),
    "campaign-login": Reason(_W, "Campaign refused the login", "check user, password, mandator and the API user's allowed IP"),
    "campaign-answer": Reason(_W, "Campaign's answer to {call} is not what it should be: {detail}", "tried again by itself; report it if it stays"),
    "campaign-redirect": Reason(_W, "Campaign answered {call} with a redirect, which is never followed", "correct the endpoint"),
    "campaign-certificate": Reason(_W, "Campaign's certificate is not trusted", "check the endpoint and ca_file; nothing was sent"),
    "call-refused": Reason(_W, "Campaign refused {call}: {detail}", "read the words; permissions and allowed operations are set per API user"),
    "call-failing": Reason(_W, "{poisoned} rows were refused one by one, more than {limit}; the refill waits", "the list is partial until it goes on; look what changed at Campaign (permissions, attributes); tried again by itself, and a newer drop takes over"),
    "sftp-unreachable": Reason(_W, "the SFTP server does not answer ({detail})", "tried again by itself"),
    "sftp-login": Reason(_W, "the SFTP server refused the key", "check user and key; Campaign takes RSA 2048"),
    "sftp-host-key": Reason(_W, "the SFTP server's host key is not the pinned one (it shows {shown})", "ask the operator of the server; pin the new key only when it is confirmed"),
    "sftp-refused": Reason(_W, "the SFTP server refused {call}: {detail}", "check the folder and its rights"),
    "sftp-write-failed": Reason(_W, "the SFTP server failed while {call} was written ({detail})", "look at the disk of the server; tried again by itself"),
    "sftp-no-posix-rename": Reason(_N, "the SFTP server has no posix-rename; the plain rename was used", "none needed; the final name is unique"),
    "sftp-left": Reason(_W, "{left}, or the file it became, may be left on {account}", "remove the file there by hand; it holds personal data"),
    "exports-missing": Reason(_W, "Campaign's export job for {call} has put no file on {host} for {hours} hours ({detail})", "see with Campaign's support whether the job still runs and where it puts its files; tried again by itself"),
    "exports-changed": Reason(_W, "the export file {file} on {host} went away or changed while it was read", "tried again by itself"),
    "upload-size": Reason(_W, "the remote file has {remote_bytes} bytes, {size_bytes} were written", "tried again by itself"),
    "disk-error": Reason(_W, "the local disk failed: {detail}", "look at the disk of the state folder"),
    "folder-lost": Reason(_W, "{folder} is not the folder it was at start", "mount the share again; restart the service if it does not go on by itself"),
    # --- the list ------------------------------------------------------------------------------
    "unsubscribed": Reason(_L, "is unsubscribed", "the CRM's file of unsubscriptions names the person"),
    "blocklisted": Reason(_L, "is on the blocklist", "see the blocklist in Campaign"),
    "bounced": Reason(_L, "bounced too often", "the CRM's file of bounces names the address"),
    "suppressed-late": Reason(_L, "was suppressed between the upload and the refill", "none needed; the uploaded file holds the row, the list does not"),
    "code-1": Reason(_L, "Campaign refused the address", "correct the address in the CRM"),
    "code-6": Reason(_L, "Campaign filtered the recipient", "ask Campaign's support"),
    "code-7": Reason(_L, "Campaign failed on the recipient three times", "look whether the next refill takes it; else ask Campaign's support"),
    "poisoned": Reason(_L, "the call failed whenever this row was in it: {detail}", "look at the values of this row; an empty or malformed number fails a whole call"),
    "list-mismatch": Reason(_L, "the list holds {count} recipients, {low} to {high} were expected; cleared again {clears} times", "look who else writes to this list; then drop again, or `etl release BATCH --allow list-mismatch --why TEXT` for two further clears"),
    "list-short": Reason(_L, "the list took {listed} of {sent} rows", "look at the codes in the case; the list is kept as it is; drop a corrected export, it takes over"),
    # --- notes (nothing is stopped) --------------------------------------------------------------
    "same-content": Reason(_N, "the drop has the same bytes as the last one refilled", "look whether the CRM's job still selects anew"),
    "other-description": Reason(_N, "description is {value}, the feed says {expected}", "bring the feed's text up to date"),
    "many-consents": Reason(_N, "there are nearly as many opt-in-ids as rows", "opt-in-id is the id of the consent, not of the row"),
    "many-refused": Reason(_N, "{refused} of {sent} rows were refused by Campaign", "look at the case"),
    "list-unchanged": Reason(_N, "the file is uploaded, the list is unchanged since {since}", "see why the batch is held"),
    "superseded": Reason(_N, "a newer drop of the same feed took its place", "none needed"),
    "rollback": Reason(_N, "the rows of batch {of} go back into the list, freshly suppressed; nothing is uploaded", "none needed"),
    "discarded": Reason(_N, "was discarded by {user}: {why}", "none needed"),
    # --- state -----------------------------------------------------------------------------------
    "configuration": Reason(_S, "{problems} problems in the configuration", "correct them all; nothing was started"),
    "already-running": Reason(_S, "another instance holds {folder}", "use the running one, or stop it"),
    "journal-damaged": Reason(_S, "the journal cannot be used: {detail}", "restore the state folder as a whole from one backup; without one, move it away as a whole (docs/reliability.md says what that forgets); never mend the file or start with an empty one beside the rest"),
    "not-migrated": Reason(_S, "{file} has version {found}, this release writes {known}", "a start of the service brings it up to date, after a backup; of the journal `etl status` does too"),
    "store-key": Reason(_S, "the suppression store was made with another key", "restore the key; a new key goes beside the old one"),
    "store-damaged": Reason(_S, "the suppression store cannot be used: {detail}", "restore it from a backup"),
    "page-layout": Reason(_S, "{call} gave a row that is not laid out as configured: {detail}", "look at the rows Campaign gives; set the layout in the client's configuration"),
    "nothing-kept": Reason(_S, "no former content of the list of feed {feed} is kept", "drop a corrected export; it takes over"),
    "no-list": Reason(_S, "feed {feed} refills no list, so nothing can go back into one", "drop a corrected export"),
    "kept-damaged": Reason(_S, "the kept rows of batch {batch} are missing or not those that were written", "look at the disk of the state folder; drop a corrected export, it takes over"),
    "refilled-since": Reason(_S, "the list of feed {feed} was refilled after the rollback was asked", "look again: `etl refill plan FEED`"),
    "no-such-batch": Reason(_S, "there is no batch {batch}", "see `etl status`"),
    "said-again": Reason(_S, "something was said of the person after the lift was asked, and it stands", "look again: `etl suppression lift ADDRESS --why TEXT`"),
    "not-allowed": Reason(_S, "batch {batch} in {place} cannot be {verb}", "see the life of a drop in README"),
}  # fmt: skip

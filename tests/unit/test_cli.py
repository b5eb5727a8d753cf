"""The command line's last line of defence: a bug ends in 70, without a word of what it held."""

import subprocess
import sys

SCRIPT = """
import sys
from etl import cli

@cli.cli.command()
def crash() -> None:
    people = ["max.muster@example.org"]
    raise {error}

sys.argv = ["etl", "crash"]
cli.main()
"""


def crash(error):
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.replace("{error}", error)],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_a_bug_in_a_command_shows_no_words_and_no_values():
    """Exit 70, one event with type and place; neither the text of the error nor a local."""
    done = crash('RuntimeError(f"could not take {people[0]}")')
    assert done.returncode == 70
    assert "RuntimeError" in done.stderr
    assert "max.muster" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_an_error_of_ours_says_its_code_sentence_and_hint():
    """An expected error ends in its own exit code with words that help."""
    done = crash('__import__("etl.errors").errors.AlreadyRunning("already-running", folder="/x")')
    assert done.returncode == 75
    assert "already-running: another instance holds /x" in done.stderr
    assert "use the running one" in done.stderr

"""Where the files that come with the package lie: in a checkout beside it, in a wheel inside it."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def shipped(folder: str) -> Path:
    """Return the folder `schemas`, `sample_data` or `systemd` as installed or as checked out.

    In a wheel it is `etl/shipped/FOLDER` (pyproject's force-include), in a checkout `FOLDER` at
    the top. Raises FileNotFoundError when neither is there: a broken installation.
    """
    for place in (_PACKAGE / "shipped" / folder, _PACKAGE.parent / folder):
        if place.is_dir():
            return place
    raise FileNotFoundError(f"the shipped folder {folder!r} is missing: reinstall the package")

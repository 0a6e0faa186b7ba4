"""What a test needs beyond set-up. A missing program skips the test and names the line that installs it.

With BUSBAR_REQUIRE=all, as in continuous integration, the test fails instead.
"""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest


def everything_required() -> bool:
    """Whether a test that cannot run counts as failed."""
    return os.environ.get("BUSBAR_REQUIRE") == "all"


def needs_program(program: str, *, apt: str, folders: str = "") -> str:
    """The path of a program, for a test that cannot do without it.

    Call it in a fixture or a test, not at import. `apt` is the Debian package, to be listed in
    scripts/apt-packages.txt as well. `folders` is a pattern of folders that Debian keeps off the path.
    """
    elsewhere = sorted(Path("/").glob(folders.lstrip("/")), reverse=True) if folders else []
    found = shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), *map(str, elsewhere)]))
    if found is None:
        cannot_run(f"{program} is missing: apt-get install {apt}")
    return found


def cannot_run(reason: str) -> NoReturn:
    """Skips the test that asks, or fails it where everything is required."""
    if everything_required():
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)

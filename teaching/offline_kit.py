"""Collect what a room without network needs: python teaching/offline_kit.py FOLDER [options].

The folder then holds the wheels of requirements.txt, the repository as an archive, and a README.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# What pip needs to install the checkout itself (`-e .`), since nothing else can be fetched.
BUILD = ["hatchling>=1.27", "editables"]
README = """# Learning to hash, without network

For {platform}, Python {python}. Nothing here is fetched from anywhere.

1. Unpack `learning-to-hash.zip` and open a terminal in the folder that comes out of it.
2. Make an environment and install from the wheels beside this file (put its path for KIT):

       python3 -m venv .venv
       .venv/bin/python -m pip install --no-index --find-links KIT/wheels -r requirements.txt

   On Windows: `py -m venv .venv` and `.venv\\Scripts\\python` instead of `.venv/bin/python`.
3. Choose the data. The digits are there already; for CIFAR-10 name the folder that the room shares.

       export GRH_DATASET=digits
       export GRH_DATA_HOME=/path/of/the/share      (only if there is one)

   On Windows: `set` instead of `export`.
4. Start: `.venv/bin/jupyter lab notebooks`.

For the teacher: the shared folder is a data home. Run `python -m grh_helpers data` with
`GRH_DATA_HOME` set to it, on a machine with network, and let all read it. It needs half a gigabyte.
"""


def requirements(extra: list[Path]) -> list[str]:
    """Return the pinned packages, without the checkout itself and without comments."""
    lines = [
        line.partition("#")[0].strip()
        for path in [ROOT / "requirements.txt", *extra]
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    return [line for line in lines if line and not line.startswith("-")]


def main(arguments: list[str]) -> None:
    """Write the kit."""
    parser = argparse.ArgumentParser(description="Collect what a room without network needs.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--platform", action="append", help="as pip's: win_amd64, say")
    parser.add_argument("--python", help="the students' version, as 3.12, with --platform")
    parser.add_argument("--extra", type=Path, action="append", default=[], help="more requirements")
    options = parser.parse_args(arguments)
    if options.python and not options.platform:
        parser.error("--python needs --platform; without it the kit is for this machine.")
    wheels = options.folder / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(wheels)]
    command += ["--only-binary=:all:"]
    for platform in options.platform or []:
        command += ["--platform", platform]
    if options.python:
        command += ["--python-version", options.python]
    subprocess.run([*command, *requirements(options.extra), *BUILD], check=True)
    archive = options.folder.resolve() / "learning-to-hash.zip"
    subprocess.run(
        ["git", "archive", "--prefix=learning-to-hash/", "-o", str(archive), "HEAD"],
        cwd=ROOT,
        check=True,
    )
    version = options.python or ".".join(map(str, sys.version_info[:2]))
    text = README.format(platform=", ".join(options.platform or [sys.platform]), python=version)
    (options.folder / "README.md").write_text(text, encoding="utf-8")
    size = sum(p.stat().st_size for p in options.folder.rglob("*") if p.is_file()) / 1e6
    count = len(list(wheels.glob("*.whl")))
    print(f"{options.folder}: {count} wheels and the repository, {size:.0f} MB.")


if __name__ == "__main__":
    main(sys.argv[1:])

"""The workflows: what they call exists, and their versions are those of the project."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml  # comes with Jupyter

from grh_helpers.datasets import CIFAR_ARCHIVE, CIFAR_MD5

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MINIMUM = PROJECT["requires-python"].removeprefix(">=")
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FLOWS = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in FILES}
JOBS = {(name, job): found for name, flow in FLOWS.items() for job, found in flow["jobs"].items()}
SYSTEMS = ["ubuntu-latest", "macos-latest", "windows-latest"]


def steps(job, key):
    return [step[key] for step in job["steps"] if key in step]


def commands(job):
    """All commands of a job, one string each."""
    lines = (line for run in steps(job, "run") for line in run.strip().splitlines())
    return [line for line in lines if line]


def pythons(job):
    matrix = job.get("strategy", {}).get("matrix", {}).get("python")
    return matrix or [
        step["with"]["python-version"] for step in job["steps"] if "setup-python" in str(step)
    ]


def run_of(command):
    """What must exist for a command: (kind, name) pairs."""
    if command.startswith("echo"):
        return []
    words = shlex.split(command)
    if words[0] == "make":
        return [("target", word) for word in words[1:] if "=" not in word]
    if words[0] == "bash":
        return [("file", words[1])]
    if words[:2] == ["python", "-m"]:
        files = [("file", word) for word in words[3:] if re.search(r"\.(txt|ipynb)$", word)]
        return [("module", words[2]), *files]
    return [("unknown", command)]


def missing(command):
    """What of a command does not exist."""
    exists = {
        "target": lambda name: name in TARGETS,
        "file": lambda name: any(ROOT.glob(name)),
        "module": lambda name: name in {"pip", "pytest"} or (ROOT / name).exists(),
        "unknown": lambda name: False,
    }
    return [name for kind, name in run_of(command) if not exists[kind](name)]


@pytest.mark.parametrize("job", JOBS, ids="-".join)
def test_every_command_exists(job):
    found = commands(JOBS[job])
    assert found or "uses" in str(JOBS[job])
    for command in found:
        assert missing(command) == [], command


def test_a_command_that_does_not_exist_is_seen():
    assert missing("make tset") == ["tset"] and missing("bash .ci/yearly") == [".ci/yearly"]
    assert missing("python -m pip install -r reqs.txt") == ["reqs.txt"]
    assert missing("rm -rf /") == ["rm -rf /"]


@pytest.mark.parametrize("name", FLOWS)
def test_little_is_permitted_and_nothing_runs_for_ever_or_twice(name):
    flow = FLOWS[name]
    assert flow["permissions"] == {"contents": "read"} and flow["concurrency"]["group"]
    for job in flow["jobs"].values():
        assert 0 < job["timeout-minutes"] <= 180
        more = job.get("permissions", {})
        assert set(more) <= {"pages", "id-token"}
        assert not more or not steps(job, "run"), "who may write runs no code of the project"


@pytest.mark.parametrize("job", JOBS, ids="-".join)
def test_actions_are_pinned(job):
    for action in steps(JOBS[job], "uses"):
        assert re.fullmatch(r"actions/[\w/-]+@v\d+|docker://[\w/-]+:\d+\.\d+\.\d+", action), action


def test_one_version_of_an_action():
    used = {action for job in JOBS.values() for action in steps(job, "uses")}
    names = [re.split("[@:]", action.replace("/restore", ""))[0] for action in used]
    assert len(set(names)) == len({action.replace("/restore", "") for action in used})


def test_pythons_are_those_that_the_project_admits():
    every = JOBS["tests", "unit"]["strategy"]["matrix"]
    assert every["os"] == JOBS["tests", "notebooks"]["strategy"]["matrix"]["os"] == SYSTEMS
    assert every["python"][0] == MINIMUM and len(every["python"]) == 4
    minor = [int(version.partition(".")[2]) for version in every["python"]]
    assert minor == list(range(minor[0], minor[0] + 4))
    for (_, name), job in JOBS.items():
        assert set(pythons(job)) <= set(every["python"])
        if name in ("strict", "oldest", "cifar10", "replication"):
            assert pythons(job) == [MINIMUM]
    assert pythons(JOBS["tests", "newest"]) == every["python"][-1:]
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'target-version = "py{MINIMUM.replace(".", "")}"' in pyproject


@pytest.mark.parametrize("job", ["notebooks", "oldest", "newest"])
def test_a_lane_leaves_out_no_notebook_in_silence(job):
    (command,) = (c for c in commands(JOBS["tests", job]) if "--nbval-lax" in c)
    words = [word for word in shlex.split(command) if word.endswith(".ipynb")]
    run = {path.name for word in words for path in ROOT.glob(word) if "exercises" not in path.parts}
    every = {path.name for path in (ROOT / "notebooks").glob("*.ipynb")}
    later = {"09_the_field.ipynb", "10_scaling_out.ipynb"} if job == "oldest" else set()
    assert run == every - later
    assert sum("solutions" in word for word in words) == 1


def test_the_oldest_versions_are_the_lower_bounds():
    bounds = dict(re.match(r"([\w-]+)>=([\d.]+)$", x).groups() for x in PROJECT["dependencies"])
    (command,) = (c for c in commands(JOBS["tests", "oldest"]) if "install" in c and "==" in c)
    pinned = dict(re.findall(r'"([\w-]+)==([\d.]+)"', command))
    assert pinned.keys() == bounds.keys()
    for name, version in pinned.items():
        assert f"{version}.".startswith(f"{bounds[name]}."), name


def test_the_cache_is_named_by_the_checksum_of_the_archive():
    caches = [
        step["with"]
        for job in JOBS.values()
        for step in job["steps"]
        if step.get("uses", "").startswith("actions/cache")
    ]
    assert len(caches) == 3
    for cache in caches:
        assert cache["key"] == f"cifar-10-{CIFAR_MD5}"
        assert cache["path"] == f"output/data-home/{CIFAR_ARCHIVE}"
    homes = [JOBS["tests", "strict"]["env"], FLOWS["weekly"]["env"]]
    assert all(home["GRH_DATA_HOME"].endswith("/output/data-home") for home in homes)


def test_weekly_runs_by_the_clock_and_pages_only_from_main():
    # YAML 1.1 reads the key "on" as true.
    assert {"schedule", "workflow_dispatch"} <= FLOWS["weekly"][True].keys()
    publish = JOBS["book", "publish"]
    assert "refs/heads/main" in publish["if"] and publish["needs"] == "build"
    assert publish["permissions"] == {"pages": "write", "id-token": "write"}


def test_the_environment_of_conda_and_binder_is_that_of_pip():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    python, pip, packages = environment["dependencies"]
    assert python == f"python{PROJECT['requires-python']}" and pip == "pip"
    wanted = ["requirements.txt", "requirements-extras.txt"]
    assert packages == {"pip": [f"-r {name}" for name in wanted if (ROOT / name).exists()]}
    assert "-e ." in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()


def test_the_citation_fits_the_project():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    citation = yaml.safe_load(text)
    assert citation["cff-version"] == "1.2.0" and citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert citation["authors"] == [{"name": "The grh-helpers authors"}]
    assert citation["references"][0]["doi"] == "10.1007/978-3-319-16354-3_15"

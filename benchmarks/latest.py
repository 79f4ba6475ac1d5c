"""Run the tests on the newest releases of all dependencies, without upper bounds, and say what breaks.

    python -m benchmarks.latest                      # install the newest of everything and run the tests
    python -m benchmarks.latest --keep torch,pandas  # leave the bounds of some
    python -m benchmarks.latest --raise transformers # let the bound admit what is newest today

Warnings of every kind are errors here, those of libraries about their own future included: they say what will break
next. A bound that is raised is a line of pyproject.toml; the tests have to pass with it first.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = ROOT / "pyproject.toml"


def requirements(text, extra="test"):
    """The requirements that a pyproject.toml lists.

    Args:
        text: of the file. extra: whose requirements are taken beside those of every install.

    Returns:
        A list of ``packaging.requirements.Requirement``.
    """
    project = tomllib.loads(text)["project"]
    return list(map(Requirement, [*project["dependencies"], *project["optional-dependencies"][extra]]))


def unbounded(requirement):
    """A requirement without its upper bound, as pip takes it."""
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    lower = ",".join(str(part) for part in requirement.specifier if part.operator not in ("<", "<=", "=="))
    return f"{requirement.name}{extras}{lower}"


def above_bounds(wanted, installed):
    """``{name: version}`` of the installed packages that the bounds of ``wanted`` keep out."""
    return {
        r.name: installed[_key(r.name)]
        for r in wanted
        if _key(r.name) in installed and not r.specifier.contains(installed[_key(r.name)], prereleases=True)
    }


def raised(text, name, version):
    """The text of pyproject.toml with every bound of a package raised so that it admits a version.

    The new bound is the next minor version; where the old one was a major version, the next major version.

    Raises:
        ValueError: the package has no upper bound there.
    """
    found = Version(version)

    def new(match):
        bound = f"{found.major + 1}" if "." not in match[2] else f"{found.major}.{found.minor + 1}"
        return f"{match[1]}<{bound}"

    pattern = rf'("{re.escape(name)}(?:\[\w+\])?(?:[<>=!~][^"]*,)?)<([\d.]+)'
    changed, count = re.subn(pattern, new, text)
    if not count:
        raise ValueError(f"pyproject.toml has no upper bound for {name!r}.")
    return changed


def _key(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def _pip(python, *arguments):
    return subprocess.run([python, "-m", "pip", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def main(arguments=None) -> int:
    """Returns the exit code: that of the tests, or 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--keep", default="", metavar="NAMES", help="packages whose bounds stay, with commas between them"
    )
    parser.add_argument(
        "--raise", dest="raise_", metavar="NAME", help="raise the bound of a package to its newest release"
    )
    parser.add_argument("pytest", nargs="*", help="arguments of pytest, such as tests/decoding")
    options = parser.parse_args(arguments)
    text = PROJECT.read_text("utf-8")
    if options.raise_:
        version = re.search(r"\((.+?)\)", _pip(sys.executable, "index", "versions", options.raise_))[1]
        PROJECT.write_text(raised(text, options.raise_, version), "utf-8")
        print(f"pyproject.toml admits {options.raise_} {version} now; run the tests with it.")
        return 0
    wanted, kept = requirements(text), {_key(name) for name in options.keep.split(",") if name}
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = str(Path(folder) / ("Scripts" if sys.platform == "win32" else "bin") / "python")
        _pip(python, "install", *(str(r) if _key(r.name) in kept else unbounded(r) for r in wanted))
        _pip(python, "install", "--no-deps", "--editable", str(ROOT))
        installed = {_key(e["name"]): e["version"] for e in json.loads(_pip(python, "list", "--format=json"))}
        for name, version in sorted(above_bounds(wanted, installed).items()):
            print(f"above its bound: {name} {version}")
        done = subprocess.run([python, "-m", "pytest", "-W", "error", *options.pytest], cwd=ROOT)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())

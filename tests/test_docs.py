"""The documentation: its commands are accepted, its links lead somewhere, its generated pages are current."""

import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import recbole
import yaml

from recbole_genrec.cli import command_reference
from recbole_genrec.cli.parser import parse, split_command
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.config.registry import MODELS
from recbole_genrec.config.sources import check_command_line, check_test
from recbole_genrec.config.yaml_settings import parse_values
from recbole_genrec.errors import GenRecError
from recbole_genrec.prompt.template import load_template

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
WRITTEN = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "examples/README.md", *PAGES]
README = WRITTEN[0].read_text("utf-8")
#: how a command line of this package begins.
PROGRAMS = ("python -m recbole_genrec", "python run_recbole_genrec.py", "recbole_genrec")
#: words that plain English has others for.
#: files that a page tells its reader to write.
INVENTED = {"properties/model/LastTitle.yaml"}
TEST_COMMAND = 'pip install -e ".[test]" && pytest -n auto'


def of_page(paths):
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.relative_to(ROOT).as_posix())


def blocks(path, language):
    return re.findall(rf"^```{language}\n(.+?)^```", path.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def commands():
    """Every command line of this package in the pages, as arguments behind the program's name."""
    for path in WRITTEN:
        for block in blocks(path, "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                for part in re.split(r"\s+(?:&&|\|\||;|\||<|>)\s+", line.partition(" # ")[0]):
                    program = next((p for p in PROGRAMS if part == p or part.startswith(f"{p} ")), None)
                    if program:
                        yield pytest.param(shlex.split(part[len(program) :]), id=f"{path.name}: {part[:90]}")


COMMANDS = list(commands())


def test_there_are_commands():
    assert len(COMMANDS) > 40


@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_command_is_accepted(arguments, tmp_path):
    """Its name, its options, and its settings with their values, as far as that shows without data and checkpoints."""
    if "--help" in arguments:
        return
    name, rest = split_command(arguments)
    values = parse(name, rest)
    settings = parse_values(values.get("settings") or {})
    if name == "test":
        check_test(settings)
        return
    models = values.get("model") or values.get("models") or "GenRec"
    models = [models] if isinstance(models, str) else list(models)
    datasets = values.get("datasets") or [values.get("dataset") or "ml-100k"]
    files = [path for path in values.get("config_files") or () if is_shipped(path)]
    if name in ("run", "index", "tune", "compare", "compare_tuned"):
        for dataset in datasets:
            check_command_line(models, dataset, files, settings)


def is_shipped(path):
    """Whether a configuration file is one of the repository's; pages also name files that a user writes."""
    return (ROOT / path).is_file() or (ROOT / "properties" / path).with_suffix(".yaml").is_file()


def test_a_wrong_command_would_be_refused():
    with pytest.raises(GenRecError, match="Did you mean 'epochs'"):
        test_a_command_is_accepted(["--model=GenRec", "--dataset=ml-100k", "--epoch=3"], None)
    with pytest.raises(GenRecError, match="recommend"):
        test_a_command_is_accepted(["recommended", "--checkpoint", "DIR"], None)


def slug(title):
    """The anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", title).lower()).strip().replace(" ", "-")


def anchors(path):
    text = re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    return {slug(title) for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


@of_page(WRITTEN)
def test_links_lead_somewhere(path):
    text = re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:|mailto:", target):
            continue
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        if not found.exists() or (anchor and found.suffix == ".md" and anchor not in anchors(found)):
            wrong.append(target)
    assert wrong == []


@of_page(WRITTEN)
def test_files_that_are_named_exist(path):
    folders = "tests|properties|recbole_genrec|benchmarks"
    named = set(re.findall(rf"\b(?:{folders})/[\w./-]+\.(?:py|yaml)\b", path.read_text("utf-8")))
    assert {name for name in named if not (ROOT / name).is_file()} <= INVENTED


def test_the_readme_is_one_screen_after_another():
    assert len(README.splitlines()) <= 150


def test_continuous_integration_runs_the_readmes_test_command():
    assert f"\n{TEST_COMMAND}\n" in README
    assert f"\n{TEST_COMMAND}\n" in (ROOT / ".ci/run").read_text("utf-8")


def nav(entries):
    """The pages of mkdocs' navigation."""
    for entry in entries:
        for value in entry.values():
            yield from nav(value) if isinstance(value, list) else [value]


def test_every_page_is_in_the_navigation_and_every_model_has_one():
    # the file is plain YAML: no tags of Python objects
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    made = {"changelog.md", "contributing.md", "results/runs.md"}  # by docs/hooks/pages.py, of files outside of docs/
    assert {*nav(config["nav"])} == {path.relative_to(DOCS).as_posix() for path in PAGES} | made
    about_models = "\n".join(path.read_text("utf-8") for path in DOCS.glob("models/*.md"))
    assert [name for name in MODELS if name not in about_models] == []


def test_the_command_line_page_is_current():
    """``python -m recbole_genrec.cli.command_reference > docs/command-line.md``"""
    assert (DOCS / "command-line.md").read_text("utf-8") == command_reference.reference()


@pytest.mark.skipif(find_spec("mkdocs") is None, reason="needs pip install -e '.[docs]'")
@pytest.mark.skipif(find_spec("mkdocstrings") is None, reason="needs pip install -e '.[docs]'")
def test_the_pages_build_without_a_warning(tmp_path):
    import subprocess
    import sys

    ran = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "NO_MKDOCS_2_WARNING": "1"},
    )
    assert ran.returncode == 0, ran.stderr


def test_prompts_are_shown_as_they_are():
    page = (DOCS / "guides/prompt-templates.md").read_text("utf-8")
    for name in ("continuation", "instruction"):
        prompt = load_template(name).render(["Toy Story (1995)", "Heat (1995)"], "Fargo (1996)")
        assert f"```\n{prompt.rstrip()}\n```" in page


@pytest.mark.parametrize("page", ["guides/compare.md", "guides/pretrained.md"])
def test_the_files_that_pages_show_load(page, tmp_path):
    (block,) = blocks(DOCS / page, "yaml")
    path = tmp_path / "settings.yaml"
    path.write_text(block, "utf-8")
    for model in ("GenRec", "SASRec"):
        GenRecConfig(model, "ml-100k", [str(path)], models=["GenRec", "SASRec"])


def test_the_count_of_targets_that_float32_changes():
    path = Path(recbole.__file__).parent / "dataset_example/ml-100k/ml-100k.inter"
    frame = pd.read_csv(path, sep="\t", names=["user", "item", "rating", "time"], header=0)
    frame["rounded"] = frame["time"].astype(np.float32)
    exact, rounded = (
        frame.sort_values(["user", column], kind="stable").groupby("user")["item"].last()
        for column in ("time", "rounded")
    )
    assert f"{(exact != rounded).sum()} of {len(exact)} users" in " ".join(
        (DOCS / "your-data.md").read_text("utf-8").split()
    )

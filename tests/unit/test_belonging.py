"""The files that other people and programs look for in a repository agree with one another."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def test_version_and_licence_are_the_same_everywhere() -> None:
    assert CITATION["version"] == PROJECT["version"]
    assert CITATION["license"] == PROJECT["license"] == "Apache-2.0"
    assert "Version 2.0, January 2004" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[({re.escape(PROJECT['version'])}|Unreleased)\]", changes, re.MULTILINE)
    assert PROJECT["version"] in changes


def test_the_citation_is_the_paper_that_the_readme_names() -> None:
    paper = CITATION["preferred-citation"]
    authors = ", ".join(f"{author['given-names']} {author['family-names']}" for author in paper["authors"])
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"{authors}, *{paper['title']}*" in readme
    assert re.fullmatch(r"10\.\d{4}/\S+", paper["doi"])


def test_the_workflow_catalog_finds_what_it_looks_for() -> None:
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text(encoding="utf-8"))["usage"]
    assert usage.keys() == {"mandatory-flags", "software-stack-deployment", "report"}
    assert usage["software-stack-deployment"].keys() == {"conda", "apptainer", "apptainer+conda"}
    readme = (ROOT / "README.md").read_text(encoding="utf-8").lower()
    assert "snakemake" in readme and "workflow" in readme
    assert all((ROOT / path).is_file() for path in ("Snakefile", "config/README.md"))
    assert list(ROOT.glob("rules/*.smk"))

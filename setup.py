"""Which packages ship, the YAML files of ``properties/`` as one of them; all else is said in ``pyproject.toml``."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["recbole_genrec", "recbole_genrec.*"]), "recbole_genrec.properties"],
    package_dir={"recbole_genrec.properties": "properties"},
    package_data={
        "recbole_genrec": ["py.typed"],
        "recbole_genrec.report.page": ["page.css", "page.js"],
        "recbole_genrec.properties": ["*.yaml", "*/*.yaml"],
    },
)

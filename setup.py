"""Packaging: ``pip install -e .`` or a wheel; the YAML files of ``properties/`` ship inside the package."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+?)"', (HERE / "recbole_genrec" / "__init__.py").read_text("utf-8"))[1]
README = HERE / "README.md"

setup(
    name="recbole_genrec",
    version=VERSION,
    description="Generative recommendation with language models, inside RecBole",
    long_description=README.read_text("utf-8") if README.is_file() else "",
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=[*find_packages(include=["recbole_genrec", "recbole_genrec.*"]), "recbole_genrec.properties"],
    package_dir={"recbole_genrec.properties": "properties"},
    package_data={"recbole_genrec.properties": ["*.yaml", "*/*.yaml"]},
    # Upper bounds are the newest releases that the tests have passed with: `python -m benchmarks.latest` tries newer
    # ones, and `--raise NAME` moves a bound.
    install_requires=[
        # 1.2.1 needs a ray that Python 3.12 and later do not have; pip then takes 1.2.0, which works as well.
        "recbole>=1.2.0,<1.3",
        # before 2.6, weights_only=True could run code of a file all the same (CVE-2025-32434).
        "torch>=2.6,<2.14",
        "transformers>=4.56,<5.25",
        "peft>=0.17,<0.22",
        # RecBole fills columns through a chain, which pandas 3 ignores without a word.
        "pandas>=1.4,<3",
        "numpy>=1.26,<2.6",
        "scipy>=1.11,<1.19",
        "scikit-learn>=1.5,<1.10",  # before: CVE-2024-5206
        "pydantic>=2.10,<2.15",
        "threadpoolctl>=3,<4",
        "safetensors>=0.4.3,<0.9",
        "tokenizers>=0.20,<0.24",
        "rapidfuzz>=3,<4",
        "rich>=13,<16",
        "pyyaml>=6,<7",
        "tqdm>=4.66.3,<5",  # before: CVE-2024-34062
    ],
    extras_require={
        "test": [
            "pytest>=8,<10",
            "hypothesis>=6,<7",
            "sacrebleu>=2.3,<3",
            "rouge-score>=0.1.2,<0.2",
            "openai>=1.98,<4",
            "hyperopt>=0.2.7,<0.4",
            "plotly>=6,<8",
            "transformers[serving]",  # a real server to chat with: FastAPI and uvicorn, no more
        ],
        "chat": ["openai>=1.98,<4"],
        "p5": ["sacrebleu>=2.3,<3", "rouge-score>=0.1.2,<0.2"],
        "report": ["plotly>=6,<8"],
        "quantization": ["bitsandbytes>=0.43,<0.51"],
        "flash": ["flash-attn>=2.6,<3"],
        "sentencepiece": ["sentencepiece>=0.2,<0.3", "protobuf<8"],
        "tuning": ["hyperopt>=0.2.7,<0.4"],
        "wandb": ["wandb>=0.17,<0.32"],
        "text": ["sentence-transformers>=3,<7"],
        "dev": ["ruff>=0.6,<0.18", "coverage>=7.2,<8"],  # coverage: benchmarks/mutants
    },
    entry_points={"console_scripts": ["recbole_genrec=recbole_genrec.cli.main:main"]},
)

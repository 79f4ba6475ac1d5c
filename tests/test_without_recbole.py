"""The engine is of use where RecBole is not installed: on a GPU machine that has only torch and transformers."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENGINE = """
backbone.scratch backbone.backbone backbone.kv_cache backbone.loading decoding.trie decoding.tree decoding.search
decoding.scoring decoding.softmax batches.packing batches.tokens prompt.template catalogue.item_text catalogue.schemes
config.arguments
""".split()

WITHOUT_RECBOLE = """
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        blocked = name.partition(".")[0] in ("recbole", "scipy", "sklearn", "pandas", "hypothesis")
        return None if blocked else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
"""


def run_without_recbole(code):
    """Run Python code in a new process that finds neither RecBole nor scipy, pandas or hypothesis."""
    command = [sys.executable, "-c", WITHOUT_RECBOLE + code]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_the_engine_imports_without_recbole():
    imports = "".join(f"import recbole_genrec.{module}\n" for module in ENGINE)
    run_without_recbole(imports + "import sys\nassert not any(name.startswith('recbole.') for name in sys.modules)")


def test_the_gpu_benchmark_runs_without_recbole_and_checks_itself(tmp_path):
    output = tmp_path / "result.json"
    run_without_recbole(f"from benchmarks import gpu\ngpu.main(['--quick', '--output', {str(output)!r}])")
    result = json.loads(output.read_text("utf-8"))
    assert max(result["check"].values()) < 2e-4
    assert {row["template"] for row in result["training"]} == {"continuation", "instruction"}
    assert result["decoding"][0]["expanded_nodes"] > 0

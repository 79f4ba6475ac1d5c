"""No line of the package runs data as code: the source is searched for calls that could."""

import ast
from pathlib import Path

import pytest

import recbole_genrec

PACKAGE = Path(recbole_genrec.__file__).parent
#: calls that run what they are given, and what reads pickles; ``numpy.load`` and ``yaml.load`` depend on how.
RUNNING = {"eval", "exec", "compile", "__import__"}
PICKLING = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
#: RecBole's own files are pickles. Its loads go through here, and warn.
RECBOLES = {("compat/torch_calls.py", name) for name in ("import pickle", "pickle.load", "torch.load")}
#: what the processes of one run say to each other.
PEERS = {("distributed/world.py", f"dist.{name}") for name in ("all_gather_object", "broadcast_object_list")}
#: a shipped file, by the loader of the ``Config`` that asks for it: stock RecBole's may be another.
SHIPPED = {("files/properties.py", "yaml.load")}


def risky(path):
    """Uses of what can run data as code in a Python file, by name."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            module = getattr(node, "module", None)
            names = [module] if module else [alias.name for alias in node.names]
            yield from (f"import {name}" for name in names if name.split(".")[0] in PICKLING)
            if isinstance(node, ast.ImportFrom) and module in ("torch", "numpy", "yaml"):
                yield from (f"{module}.{alias.name}" for alias in node.names if "load" in alias.name)
        if isinstance(node, ast.Attribute) and ast.unparse(node) in (
            "yaml.Loader",
            "yaml.FullLoader",
            "yaml.UnsafeLoader",
        ):
            yield ast.unparse(node)
        if not isinstance(node, ast.Call):
            continue
        name, given = ast.unparse(node.func), {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        arguments = [ast.unparse(argument) for argument in node.args]
        if name in RUNNING or name in ("pickle.load", "pickle.loads", "pickle.Unpickler"):
            yield name
        elif name == "torch.load" and given.get("weights_only") != "True":
            yield name
        elif name in ("np.load", "numpy.load") and given.get("allow_pickle") != "False":
            yield name
        elif name in ("yaml.load", "yaml.load_all") and arguments[1:] not in (["YamlLoader"], ["yaml.SafeLoader"]):
            yield name
        elif "dist" in name.split(".") and name.endswith(("_object", "_object_list")):
            yield name
        elif name in ("yaml.full_load", "yaml.unsafe_load", "pd.read_pickle", "pandas.read_pickle"):
            yield name
        elif name.endswith(".from_pretrained") and "PeftModel" not in name:
            if "Tokenizer" not in name and "Config" not in name and given.get("use_safetensors") != "True":
                yield f"{name} without use_safetensors"
            if "trust_remote_code" not in given and given.get(None) not in ("origin", "code"):
                yield f"{name} without trust_remote_code"  # it would ask at the terminal


def test_no_line_of_the_package_runs_data_as_code():
    found = {(path.relative_to(PACKAGE).as_posix(), use) for path in PACKAGE.rglob("*.py") for use in risky(path)}
    assert found == RECBOLES | PEERS | SHIPPED


@pytest.mark.parametrize("line", [
    "import pickle",
    "from joblib import load",
    "import dill as safe",
    "from torch import load",
    "eval('1')",
    "exec('a = 1')",
    "torch.load(path)",
    "torch.load(path, weights_only=False)",
    "np.load(path)",
    "numpy.load(path, allow_pickle=True)",
    "yaml.load(text, yaml.FullLoader)",
    "yaml.unsafe_load(text)",
    "load_yaml(text, yaml.FullLoader)",
    "dist.recv_object_list(box)",
    "AutoModel.from_pretrained(name, trust_remote_code=False)",
    "AutoTokenizer.from_pretrained(name)",
])  # fmt: skip
def test_the_search_of_the_source_finds_it(tmp_path, line):
    path = tmp_path / "module.py"
    path.write_text(line, "utf-8")
    assert list(risky(path))

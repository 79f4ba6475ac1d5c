"""RecBole is mended when it is imported, whoever imports it, and not before."""

import subprocess
import sys

import pytest

MENDED = "sys.modules['recbole.trainer.trainer'].torch.load.__module__.startswith('recbole_genrec.compat')"


@pytest.mark.parametrize(
    "code",
    [
        "import recbole_genrec, recbole",
        "import recbole, recbole_genrec",
        "import recbole_genrec\nfrom recbole.quick_start import run_recbole",
        "import recbole_genrec\nfrom importlib.util import find_spec\nfind_spec('recbole')\nimport recbole",
        "import recbole_genrec, pkgutil\npkgutil.get_data('recbole', '__init__.py')\nimport recbole",
        "from recbole_genrec import GenRec",
    ],
)
def test_recbole_is_mended(code):
    run_python(f"import sys\n{code}\nassert {MENDED}")


def test_the_package_imports_neither_recbole_nor_torch():
    run_python("import sys, recbole_genrec\nassert not {'recbole', 'torch', 'numpy', 'yaml'} & sys.modules.keys()")


def test_a_mistake_in_recboles_import_is_its_own():
    code = "import sys, recbole_genrec\nsys.modules['recbole'] = None\n"
    run_python(code + "try:\n    import recbole\nexcept ModuleNotFoundError: print('gone')")


def run_python(code):
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr

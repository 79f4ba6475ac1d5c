"""``python -m recbole_genrec``: the same as ``run_recbole_genrec.py``."""

from recbole_genrec.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())

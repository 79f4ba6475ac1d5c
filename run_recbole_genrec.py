"""Train and compare models: ``python run_recbole_genrec.py --model=GenRec,SASRec --dataset=ml-100k``."""

from recbole_genrec.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())

"""RecBole's trainers each open a TensorBoard folder (trainer.py:115), also in a process that should write nothing."""

from contextlib import contextmanager
from pathlib import Path

from recbole_genrec.compat.patching import recbole_module, replace


class _NoTensorBoard:
    """The methods of TensorBoard's writer that RecBole's trainers call."""

    def add_scalar(self, *args):
        pass

    def add_hparams(self, *args):
        pass

    def close(self):
        pass


@contextmanager
def no_tensorboard():
    """Context in which new trainers write nothing for TensorBoard."""
    module = recbole_module("trainer.trainer")
    get_tensorboard = module.get_tensorboard
    module.get_tensorboard = lambda logger: _NoTensorBoard()
    try:
        yield
    finally:
        module.get_tensorboard = get_tensorboard


def boards_that_stay_where_they_are():
    """utils.py:231: the folder is relative, and a thread of TensorBoard writes minutes later, wherever that is then."""

    @replace(recbole_module("utils.utils"), "SummaryWriter")
    def writer(original, folder):
        return original(str(Path(folder).absolute()))

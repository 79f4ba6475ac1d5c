"""Makes RecBole find this package's models, and mends it: the one place that hands the registry to the patches."""

from recbole_genrec.compat.patches import Plugin, apply
from recbole_genrec.config.defaults import add_shipped_defaults
from recbole_genrec.config.registry import (
    CHECKPOINT_READER,
    MODELS,
    RUN_READER,
    plugin_dataset,
    plugin_model,
    plugin_trainer,
    resolve,
)


def install():
    """Mend RecBole, and put the models into it; a second call does nothing.

    It runs when RecBole is first imported after this package, or with the import of this package where RecBole was
    there before; also in a spawned process that unpickles anything of this package.
    """
    apply(
        Plugin(
            names=MODELS,
            find_model=plugin_model,
            find_trainer=plugin_trainer,
            find_dataset=plugin_dataset,
            add_defaults=add_shipped_defaults,
            read_checkpoint=lambda folder: resolve(CHECKPOINT_READER)(folder),
            load_data_and_model=lambda model_file: resolve(RUN_READER)(model_file),
        )
    )

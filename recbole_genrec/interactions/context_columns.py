"""Columns of interactions that a model reads beside users and items: exact times, and numbers such as ratings.

RecBole rounds timestamps to float32, steps of 64 to 128 seconds (``recbole/data/dataset/dataset.py:2207``), and
``normalize_all`` squeezes every column of numbers into [0, 1]. What a model names here keeps the values of the file.

A model class says which columns it reads by a class method ``context_columns(config)``: a mapping of a column's name to
the setting that asks for it. The dataset then carries the column ``[B]``, which is the target's own value, and
``<column>_list [B, L]`` for the history. Datasets of models without that method are as they were.
"""

import numpy as np
from pandas.api.types import is_numeric_dtype
from recbole.utils import FeatureSource, FeatureType

from recbole_genrec.errors import GenRecError, listed, shown
from recbole_genrec.files.moments import Clock
from recbole_genrec.interactions.presplit import interaction_files

#: the column of exact times: int64, in units of the file's timestamps (seconds, mostly) since the first of the file.
EXACT_TIME = "exact_time"
#: settings of RecBole that would change the values of a column that they name, and those that would leave it out.
_CHANGING = ("normalize_field", "threshold", "discretization", "numerical_features")
_DROPPING = ("unload_col", "unused_col")


def context_columns_of(configs):
    """The columns that the models of some configurations read.

    Args:
        configs: of the models of a run.

    Returns:
        The setting that asks for each column, by the column's name.
    """
    columns = {}
    for config in configs:
        model = getattr(config, "model_class", None)
        if hasattr(model, "context_columns"):
            columns |= model.context_columns(config)
    return columns


class ContextColumns:
    """Mixin before a RecBole dataset class: interactions with :data:`EXACT_TIME`, and columns of the file's numbers.

    Numbers are float32. A missing one is the mean of its column, as RecBole fills it. Times are whole numbers: what
    comes after the decimal point is cut off.

    Args:
        config: RecBole's.
        text_columns: see :class:`~recbole_genrec.interactions.atomic_tables.AtomicTables`.
        context_columns: as :func:`context_columns_of` gives them; by default those of the configuration's own model.

    Raises:
        GenRecError: a file lacks a column, it is not of numbers, a setting would change it, or the files hold
            histories of their own.
    """

    def __init__(self, config, text_columns=None, context_columns=None):
        self._context = context_columns_of([config]) if context_columns is None else context_columns
        self._first_time, self._last_time = np.inf, -np.inf
        named = {key: config[key] or () for key in _CHANGING}
        named |= {key: (config[key] or {}).get("inter") or () for key in _DROPPING}
        for key, columns in named.items():
            for column in self._context:
                if column in columns:
                    raise GenRecError(f"{key!r} names {column!r}, whose values {self._context[column]!r} needs.")
        super().__init__(config, text_columns)

    @property
    def _numbers(self):
        """Names of the context columns that the files have."""
        return [column for column in self._context if column != EXACT_TIME]

    def _columns_to_load(self, columns, source):
        kept = super()._columns_to_load(columns, source)
        if source != FeatureSource.INTERACTION or not self._context:
            return kept
        if EXACT_TIME in self._context and EXACT_TIME in columns:
            raise GenRecError(f"{self.dataset_name}.inter has a column {EXACT_TIME!r}: the name is taken. Rename it.")
        files = ", ".join(str(path) for path in interaction_files(self.config))
        for column in self._numbers:
            if column not in columns:
                raise GenRecError(
                    f"{self._context[column]!r} needs the column {shown(column)} of {files}, which has: "
                    f"{listed(columns)}."
                )
            if columns[column] != FeatureType.FLOAT.value:
                raise GenRecError(
                    f"{self._context[column]!r} needs numbers: the column {shown(column)} of {files} must be of type "
                    f"'float', not {str(columns[column])!r}."
                )
        return {name: FeatureType(kind) for name, kind in columns.items() if name in kept or name in self._numbers}

    def _check_values(self, file, table):
        super()._check_values(file, table)
        if EXACT_TIME in self._context and self.time_field in table and is_numeric_dtype(table[self.time_field]):
            self._first_time = min(self._first_time, table[self.time_field].min())
            self._last_time = max(self._last_time, table[self.time_field].max())

    @property
    def clock(self):
        """The :class:`~recbole_genrec.files.moments.Clock` of :data:`EXACT_TIME`; ``None`` where nobody reads that."""
        return Clock.of(self._first_time, self._last_time) if EXACT_TIME in self._context else None

    def _fill_nan(self):
        super()._fill_nan()
        if not self._context:
            return
        if self.has_lists():
            keys = listed(dict.fromkeys(self._context.values()))
            raise GenRecError(
                f"{keys}: files of 'benchmark_filename' that hold histories have no {listed(self._context)}."
            )
        if EXACT_TIME in self._context and self._is_ordered_by_time():
            times = self.inter_feat[self.time_field].to_numpy()
            self.inter_feat[EXACT_TIME] = (np.floor(times) - self.clock.first).astype(np.int64)
            # whole numbers are 'token' to RecBole; the name of a token it looks up nowhere
            self.set_field_property(EXACT_TIME, FeatureType.TOKEN, FeatureSource.INTERACTION, 1)

    def _normalize(self):
        kept = {column: self.inter_feat[column].to_numpy(copy=True) for column in self._numbers}
        super()._normalize()
        for column, values in kept.items():
            self.inter_feat[column] = values

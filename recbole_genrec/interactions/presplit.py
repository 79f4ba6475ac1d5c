"""Interactions that are split beforehand: ``benchmark_filename`` names the files of training, validation and test.

Either their rows are plain, and the histories are made here: a user's interactions of the files before come first, then
the earlier ones of the same file. Or they hold histories, ``item_id_list`` beside ``item_id``, as RecBole asks for.
"""

from logging import getLogger
from pathlib import Path

import numpy as np
import torch
from recbole.data.dataset import SequentialDataset
from recbole.utils import FeatureSource, FeatureType

from recbole_genrec.errors import GenRecError
from recbole_genrec.files.atomic_file import AtomicFile


def interaction_files(config) -> list[Path]:
    """The ``.inter`` files that RecBole reads."""
    parts = config["benchmark_filename"]
    names = [config["dataset"]] if parts is None else [f"{config['dataset']}.{part}" for part in parts]
    return [Path(config["data_path"]) / f"{name}.inter" for name in names]


class PreSplit:
    """Mixin before a RecBole dataset class: files split beforehand, with histories of their own or without.

    Without, the rows are those of RecBole's data augmentation over the files one after the other, each in the order of
    time; an interaction without an earlier one of its user is no row.
    """

    #: rows of each file, once RecBole's ``file_size_list`` has those with a history.
    _rows_of_files = None

    def has_lists(self):
        """Whether the interactions bring histories of their own."""
        return self.benchmark_filename_list is not None and self._list_of(self.iid_field) in self.inter_feat

    def part_of(self, file_row):
        """Which of the files each of some rows is in, by the row in all files together ``[N]``."""
        sizes = self.file_size_list if self._rows_of_files is None else self._rows_of_files
        return np.searchsorted(np.cumsum(sizes), file_row, side="right")

    def _list_of(self, field):
        return field + self.config["LIST_SUFFIX"]

    def _init_alias(self):
        """A history has the numbers of what it lists: RecBole would give ``item_id_list`` a numbering of its own."""
        super()._init_alias()
        if self.benchmark_filename_list is None:
            return
        rest = set(self._rest_fields)
        groups = {name: list(fields) for name, fields in self.alias.items()}
        groups |= {field: [field] for field in sorted(rest) if self._list_of(field) in rest}
        for name, fields in groups.items():
            listed = [self._list_of(field) for field in fields]
            self.alias[name] = np.array([*fields, *(field for field in listed if field in rest)])
            rest.difference_update(self.alias[name])
        self._rest_fields = np.array([field for field in self._rest_fields if field in rest])

    def _benchmark_presets(self):
        if not self.has_lists():
            return  # the windows bring their lengths
        kind = self.field2type[self._list_of(self.iid_field)]
        if kind != FeatureType.TOKEN_SEQ:
            raise GenRecError(
                f"The column {self._list_of(self.iid_field)!r} of {self.dataset_name}'s files must be of type "
                f"'token_seq', not {kind.value!r}."
            )
        for field in list(self.inter_feat):
            listed = self._list_of(field)
            if listed in self.inter_feat:
                setattr(self, f"{field}_list_field", listed)
                self.inter_feat[listed] = [self._newest(cell) for cell in self.inter_feat[listed]]
                self.field2seqlen[listed] = self.max_item_list_len
        lengths = self.inter_feat[self._list_of(self.iid_field)].map(len)
        if not lengths.all():
            row = int(self.inter_feat.index[(lengths == 0).to_numpy().argmax()])
            part = int(self.part_of(row))
            path = interaction_files(self.config)[part]
            line, _ = AtomicFile.of(path, self.config).line(row - sum(self.file_size_list[:part]))
            raise GenRecError(
                f"{path}, line {line}: no history in {self._list_of(self.iid_field)!r}. Leave such rows out."
            )
        self.set_field_property(self.item_list_length_field, FeatureType.TOKEN, FeatureSource.INTERACTION, 1)
        self.inter_feat[self.item_list_length_field] = lengths

    def _newest(self, values):
        # RecBole keeps the oldest values of a long list (dataset.py:2209); numbers may come as pairs of arrays
        if isinstance(values, tuple):
            return tuple(part[-self.max_item_list_len :] for part in values)
        return values[-self.max_item_list_len :]

    def _change_feat_format(self):
        super()._change_feat_format()
        if self.benchmark_filename_list is None or not isinstance(self, SequentialDataset):
            return
        if not hasattr(self, "make_windows"):
            raise GenRecError(
                f"{self.config['model']} takes no 'benchmark_filename': it makes histories in a way of its own."
            )
        if self.has_lists():
            self._pad_lists()
            return
        self.make_windows()
        self._sort_by_part()
        if self.config["lazy_windows"] is False:
            self.inter_feat = self.inter_feat.gather()

    def _pad_lists(self):
        """Give histories the width that RecBole's data augmentation gives them."""
        for field in list(self.inter_feat.columns):
            listed = self._list_of(field)
            if listed in self.inter_feat.columns:
                lists = self.inter_feat[listed]
                missing = self.max_item_list_len - lists.shape[1]
                self.inter_feat.interaction[listed] = torch.nn.functional.pad(
                    lists, (0, 0) * (lists.dim() - 2) + (0, missing)
                )

    def _sort_by_part(self):
        """Put the rows of each file together, as RecBole's ``build`` takes them."""
        store = self.inter_feat.histories
        part, n_parts = self.part_of(store.file_row), len(self.file_size_list)
        of_row = part[self.inter_feat.place]
        self.inter_feat = self.inter_feat[np.argsort(of_row, kind="stable")]
        found = np.bincount(part, minlength=n_parts)
        kept = np.bincount(of_row, minlength=n_parts)
        self._rows_of_files, self.file_size_list = self.file_size_list, kept.tolist()
        for path, count, rows in zip(interaction_files(self.config), found, kept):
            if not rows:
                raise GenRecError(f"{path}: no row has an earlier interaction of its user, in this file or before it.")
            if count > rows:
                getLogger().info(
                    f"{path}: {count - rows:,} of {count:,} rows are the first interaction of their user: they are "
                    "history alone."
                )

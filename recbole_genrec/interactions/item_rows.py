"""The rows of ``.item`` that no interaction names: left out of the catalogue, or kept in it."""

from logging import getLogger

from recbole.utils import FeatureType

from recbole_genrec.errors import GenRecError
from recbole_genrec.files.atomic_file import AtomicFile


class UnseenItems:
    """Mixin before a RecBole dataset class: ``keep_unseen_items`` gives every item of ``.item`` a number.

    They come behind the items of the interactions. Items that a filter on columns of ``.item`` removes stay out. What
    becomes of these rows, and of an item's second row, is logged.
    """

    def _remap(self, remap_list):
        fields = [field for _, field, _ in remap_list]
        if self.iid_field not in fields:
            super()._remap(remap_list)
            return
        rows = self._item_rows()
        if rows is not None and self.config["keep_unseen_items"]:
            self._check_interval()
            # a table of its own: nobody reads the numbers that it is given
            remap_list = [*remap_list, (rows.copy(), self.iid_field, FeatureType.TOKEN)]
        super()._remap(remap_list)
        if rows is not None:
            left_out = int((~rows[self.iid_field].isin(self.field2token_id[self.iid_field])).sum())
            if left_out:
                getLogger().info(
                    f"{self.dataset_name}.item: {left_out:,} of {len(rows):,} items are in no interaction and stay out "
                    "of the catalogue. 'keep_unseen_items: true' keeps them; 'add_items' adds them to a checkpoint."
                )

    def _check_interval(self):
        """Refuse a filter that leaves out items without interactions, beside the setting that keeps them."""
        interval = self.config["item_inter_num_interval"]
        if interval is not None and not self._within_intervals(0, self._parse_intervals_str(interval)):
            raise GenRecError(
                f"'keep_unseen_items: true' keeps items without interactions, 'item_inter_num_interval: {interval}' "
                "leaves them out: set one of them."
            )

    def _item_rows(self):
        """One row for each item of ``.item``, its id alone; ``None`` without such a file.

        Raises:
            GenRecError: ``keep_unseen_items`` asks for the items, and there is no file or no column of ids.
        """
        file = AtomicFile.of(f"{self.dataset_path}/{self.dataset_name}.item", self.config)
        if self._item_kinds is None:
            if self.config["keep_unseen_items"]:
                raise GenRecError(f"'keep_unseen_items: true' needs the items of {file.path}: there is no such file.")
            return None
        if self.iid_field not in self._item_kinds:
            if self.config["keep_unseen_items"]:
                raise GenRecError(f"'keep_unseen_items: true': {file.path} has no column {self.iid_field!r}.")
            return None
        table = self._item_texts[[self.iid_field]]
        again = table[self.iid_field].duplicated()
        if again.any():
            row = int(again.to_numpy().argmax())
            getLogger().warning(
                f"{file.path}: {int(again.sum()):,} rows are of an item that has one already; the first row of each "
                f"counts. The first of them is line {file.line(row)[0]}, of item {table[self.iid_field][row]!r}."
            )
        rows = table[~again]
        if getattr(self, "item_feat", None) is not None:  # filters may have left out some of them
            rows = rows[rows[self.iid_field].isin(self.item_feat[self.iid_field])]
        return rows.reset_index(drop=True)

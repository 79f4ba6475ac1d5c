"""The data of a run: the dataset and its split, built once for all models, and loaders over them."""

from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import numpy as np
from recbole.data import dataset as datasets
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.data.utils import create_samplers, get_dataloader
from recbole.utils import init_seed

from recbole_genrec.config.feature_columns import check_item_columns
from recbole_genrec.config.registry import MODELS, is_general, plugin_dataset, predicts_ratings
from recbole_genrec.distributed.world import current
from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.context_columns import context_columns_of
from recbole_genrec.interactions.dataset import exact_dataset_class
from recbole_genrec.interactions.dataset_files import build_dataset
from recbole_genrec.interactions.general import TargetLoader, pairs, rated_pairs, training_places, training_sampler
from recbole_genrec.interactions.text_columns import text_columns_of
from recbole_genrec.interactions.unseen import UnseenLoader, add_items_before


class SplitData:
    """The dataset and its split, built once; every model gets loaders of its own over them.

    Args:
        configs: of the models; they agree about the data.

    Attributes:
        dataset: the whole.
        n_interactions: of the whole, after RecBole's filters.
        statistics: RecBole's text about the whole.
        parts: training, validation and test.
        cold: the rows that ask for cold items, or ``None``.
        users: how many are evaluated, how many validated, and of how many.
        seconds: that all of it took.
    """

    def __init__(self, configs):
        config = configs[0]
        started = perf_counter()
        init_seed(config["seed"], config["reproducibility"])
        dataset_class, columns = _dataset_class(configs), (text_columns_of(configs), context_columns_of(configs))
        if Path(config["data_path"]).is_dir():
            self.dataset = build_dataset(dataset_class, config, *columns)
        else:  # RecBole fetches it: once
            with current().in_turn():
                self.dataset = build_dataset(dataset_class, config, *columns)
        for own in configs:
            if own["model"] not in MODELS:
                check_item_columns(own, self.dataset)
        longest = max((max(own["topk"]) for own in configs if not predicts_ratings(own.model_class)), default=0)
        if longest >= self.dataset.item_num:
            raise GenRecError(f"'topk' asks for {longest} items, but the catalogue has {self.dataset.item_num - 1}.")
        self.n_interactions, self.statistics = self.dataset.inter_num, str(self.dataset)  # before rows become targets
        self.parts = self.dataset.build()
        self._check_parts(config)
        self.cold, count = self.dataset.cold_part, len(self.dataset.cold_items)
        if self.cold is not None and longest >= count:
            raise GenRecError(f"'topk' asks for {longest} items, but 'cold_items' holds only {count} out.")
        self.users = self._sample_users(config["eval_users"], config["valid_users"], config["seed"])
        self._check_labels(config)
        self.seconds = perf_counter() - started
        self._candidates, self._training_pairs = {}, {}

    def _check_parts(self, config):
        """Refuse a split that leaves nothing to train on, to validate or to test."""
        for name, part in zip(("train on", "validate", "test"), self.parts):
            if len(part) == 0:
                split = "the files of 'benchmark_filename'" if config["benchmark_filename"] else "'eval_args: split'"
                raise GenRecError(
                    f"Dataset {config['dataset']!r}: {split} leaves no row to {name}. A row is an interaction with at "
                    "least one before it; leave-one-out needs a user with four interactions."
                )

    def _check_labels(self, config):
        """Refuse an AUC over rows of one label: it has no value, and no epoch would be the best one."""
        metrics = [config["metrics"]] if isinstance(config["metrics"], str) else config["metrics"]
        if "auc" not in map(str.lower, metrics):
            return
        for number, phase in ((1, "valid"), (2, "test")):
            feat, label = self.parts[number].inter_feat, config["LABEL_FIELD"]
            if config["eval_args"]["mode"][phase] != "labeled" or label not in feat:
                continue
            labels = feat[label].numpy()
            if labels.min() == labels.max():
                raise GenRecError(
                    f"'AUC' needs rows of both labels, but all {len(labels)} rows of the {phase} part have the label "
                    f"{labels[0]:g} in {label!r}. Change 'threshold', or evaluate more users."
                )

    def _sample_users(self, evaluated, validated, seed):
        """Keep the rows of a sample of users in validation and test, and of a sample of these in validation.

        Returns:
            how many users there are, how many are evaluated, and how many are validated.
        """
        every = self._users_of(1, 2)
        users = self._keep(every, evaluated, seed, (1, 2))
        if self.cold is not None and len(users) < len(every):
            self.cold = self._rows_of(self.cold, users)
        validated = self._keep(np.intersect1d(users, self._users_of(1)), validated, seed, (1,))
        return {"evaluated": len(users), "validated": len(validated), "of": len(every)}

    def _users_of(self, *numbers):
        field = self.dataset.uid_field
        return np.unique(np.concatenate([self.parts[number].inter_feat[field].numpy() for number in numbers]))

    def _keep(self, users, count, seed, numbers):
        """Keep the rows of ``count`` of the users in some parts, by number; None keeps all. Returns who is kept."""
        if count is None or count >= len(users):
            return users
        sample = np.random.default_rng([seed, count]).choice(users, count, replace=False)
        for number in numbers:
            self.parts[number] = self._rows_of(self.parts[number], sample)
        return sample

    def _rows_of(self, part, users):
        kept = np.flatnonzero(np.isin(part.inter_feat[self.dataset.uid_field].numpy(), users))
        return part.copy(part.inter_feat[kept])

    def train_loader(self, config, model):
        """A loader of training batches: the model's own where it has one, else RecBole's."""
        own = model.training_loader(config, self.parts[0]) if hasattr(model, "training_loader") else None
        return self.recbole_train_loader(config) if own is None else own

    def recbole_train_loader(self, config):
        """RecBole's loader of training batches."""
        part = self.train_part(config)
        if is_general(config.model_class):
            with _explained():
                sampler = training_sampler(part, config)
        else:
            sampler, _, _ = self._samplers(config)
        return get_dataloader(config, "train")(config, part, sampler, shuffle=config["shuffle"])

    def train_part(self, config):
        """What a model trains on: the training part, of which a general model has the pairs."""
        if not is_general(config.model_class):
            return self.parts[0]
        column = config["RATING_FIELD"] if predicts_ratings(config.model_class) else None
        if column not in self._training_pairs:
            place = training_places(self.parts[0], config)
            self._training_pairs[column] = _pairs(self.parts[0], column, place)
        return self._training_pairs[column]

    def evaluation_loader(self, config, phase):
        """RecBole's loader of ``phase``, ``valid`` or ``test``; sampled candidates are the same for every model."""
        number = {"valid": 1, "test": 2}[phase]
        if phase not in self._candidates:
            sampler = self._samplers(config)[number]
            sampled = config[f"{phase}_neg_sample_args"]["sample_num"] != "none"  # of a whole ranking, too, it is given
            if sampler and sampled and not config["repeatable"]:
                add_items_before(sampler, self.parts[number])
            self._candidates[phase] = _SameCandidates(sampler, config["seed"], number) if sampler else None
        loader, part = _evaluation_loader(config, phase), self.parts[number]
        if is_general(config.model_class) and loader is not TargetLoader:
            part = _pairs(part, config["RATING_FIELD"] if predicts_ratings(config.model_class) else None)
        return loader(config, part, self._candidates[phase], shuffle=False)

    def _samplers(self, config):
        """RecBole's samplers of training, validation and test."""
        with _explained():
            return create_samplers(config, self.dataset, self.parts)

    def cold_loader(self, config):
        """RecBole's loader of the rows that ask for cold items; the whole catalogue is ranked."""
        return _evaluation_loader(config, "test")(config, self.cold, None, shuffle=False)


def _pairs(part, column, place=None):
    """Plain interactions of a part; where a column is named, those that have a value there."""
    return pairs(part, place) if column is None else rated_pairs(part, column, place)


def _evaluation_loader(config, phase):
    """RecBole's class, or ours: for general models, or to leave out of the catalogue what a user has had."""
    loader = get_dataloader(config, phase)
    if loader is not FullSortEvalDataLoader:
        return loader
    if is_general(config.model_class):
        return TargetLoader
    return loader if config["repeatable"] else UnseenLoader


@contextmanager
def _explained():
    """Say what RecBole's sampler has met: a user who has interacted with all items (sampler.py:250).

    Raises:
        GenRecError: it has.
    """
    try:
        yield
    except ValueError as error:
        raise GenRecError(f"Sampling of items that a user has not interacted with: {error}") from error


class _SameCandidates:
    """RecBole's sampler of candidates, drawing by seed, phase and user: not by what else was drawn before."""

    def __init__(self, sampler, seed, number):
        self.phase = sampler.phase
        self._sampler = sampler
        self._seed = (seed, number)

    def sample_by_user_ids(self, user_ids, item_ids, num):
        state = np.random.get_state()
        np.random.seed([*self._seed, int(user_ids[0])])
        try:
            return self._sampler.sample_by_user_ids(user_ids, item_ids, num)
        finally:
            np.random.set_state(state)


def _dataset_class(configs):
    """RecBole's dataset class for the models, sorting by exact time."""
    classes = {}
    for config in configs:
        name = config["model"]
        stock = getattr(datasets, f"{name}Dataset", datasets.SequentialDataset)
        classes[name] = plugin_dataset(name) if name in MODELS else exact_dataset_class(stock)
    if len(set(classes.values())) > 1:
        named = ", ".join(f"{name}: {dataset.__name__}" for name, dataset in classes.items())
        raise GenRecError(f"These models need different datasets and cannot share one run ({named}).")
    return classes[configs[0]["model"]]

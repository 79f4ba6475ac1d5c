"""Train, evaluate and compare models: the plugin's and RecBole's own, on one dataset object and one split."""

from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass
from logging import getLogger
from time import perf_counter

from recbole.utils import ModelType, dataset_arguments, init_seed

from recbole_genrec.config.arguments.recbole_general import OF_RANKINGS
from recbole_genrec.config.arguments.shared import SCRATCH
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.config.keys import check_effects, idle_keys
from recbole_genrec.config.registry import MODELS, get_trainer, predicts_ratings
from recbole_genrec.config.sources import model_list
from recbole_genrec.distributed.sharding import spread_layers, whole
from recbole_genrec.distributed.world import current, joined
from recbole_genrec.errors import GenRecError
from recbole_genrec.evaluation.clock import Clock
from recbole_genrec.files.plain import plain
from recbole_genrec.interactions.dataset_files import check_dataset, convert_raw_dump
from recbole_genrec.interactions.split import SplitData
from recbole_genrec.runs.announce import announce, announce_data, announce_model, print_ending
from recbole_genrec.runs.machine import hardware, versions
from recbole_genrec.runs.measure import measure_cold, measure_test, selected_by_validation
from recbole_genrec.runs.process import ready_cpu, recbole_logging, wandb_run
from recbole_genrec.runs.result import Parameters, RunResult, Seconds
from recbole_genrec.runs.summary import print_index, print_table, write_table
from recbole_genrec.training.curves import Curves
from recbole_genrec.training.progress import Progress

#: data settings that may differ between the models of a run: they name columns, of which all models get the union.
COLUMN_KEYS = ("load_col",)
#: settings of the data beside RecBole's own list that every model of a run must share.
SHARED_KEYS = (
    "eval_args",
    "repeatable",
    "seed",
    "data_path",
    "encoding",
    "metrics",
    "topk",
    "lazy_windows",
    "eval_users",
    "valid_users",
    "sample_users",
    "cold_items",
    "keep_unseen_items",
)


@dataclass(frozen=True)
class RunOptions:
    """What is asked of a run beside its settings.

    Attributes:
        saved: keep the best epoch in ``checkpoint_dir`` and test it; else test the last epoch.
        beside: models that do not run, whose settings are known, too.
        shown: show the log and the table of results on the console; else warnings alone, and the results are in the
            files.
    """

    saved: bool = True
    beside: tuple = ()
    shown: bool = True


def run_models(model, dataset, config_file_list=None, config_dict=None, command_line=None, options=RunOptions()):
    """``run_recbole_genrec`` with the settings of a command line, which override all others."""
    models = model_list(model)
    known = [*models, *options.beside]
    configs = [
        GenRecConfig(name, dataset, config_file_list, config_dict, command_line, models=known) for name in models
    ]
    for config in configs[1:]:
        share_data_settings(configs[0], config)
    check_effects(configs, options.beside)
    with joined() as world:
        results, user = _run_in_turn(configs, options)
        if world.is_first:
            write_table(configs[0]["results_dir"], results)
            if options.shown:
                print_table(results)
                print_ending(results, configs[0]["results_dir"], user)
    contents = [plain(result.content()) for result in results]
    return contents if len(models) > 1 or not isinstance(model, (str, type)) else contents[0]


def _run_in_turn(configs, options):
    """Train and test the models one after the other, on the same data.

    Returns:
        Their :class:`RunResult`, and a raw user id as an example.
    """
    first, world, results = configs[0], current(), []
    with world.in_turn():  # what has to be converted, the first process converts
        converted = convert_raw_dump(first)
        check_dataset(first)
    with ExitStack() as log:  # a log file, and so a folder of TensorBoard, for each model
        log.enter_context(recbole_logging(first, console=options.shown))
        if converted:
            getLogger().info(converted)
        for notice in [*first.notices, idle_keys(configs)]:
            if notice:
                getLogger().warning(notice)
        ready_cpu(first)
        data = SplitData(configs)
        announce_data(data)
        rehearse(configs[1:], data)
        for config in configs:
            if config is not first:
                log.close()
                log.enter_context(recbole_logging(config, console=options.shown))
            with wandb_run(config):
                results.append(_run_model(config, data, options.saved, first["results_dir"]))
            if world.is_first:
                results[-1].write(first["results_dir"])
    return results, data.dataset.id2token(data.dataset.uid_field, 1)


def show_index(dataset=None, config_file_list=None, config_dict=None, command_line=None):
    """Give a dataset's items identifiers as a run of GenRec would, and print what came of it; nothing is trained.

    Returns:
        The :class:`~recbole_genrec.catalogue.catalogue.Catalogue`.

    Raises:
        GenRecError: a dataset, file, key or value is not accepted.
    """
    config = GenRecConfig("GenRec", dataset, config_file_list, config_dict, command_line)
    check_dataset(config)
    model = build_model(config, SplitData([config]))
    kind = model.arguments["indexing"].item_indexing
    print_index(f"{kind} identifiers of {config['dataset']}, seed {config['seed']}", model.catalogue, model.decisions())
    return model.catalogue


def share_data_settings(first, config):
    """Give two models the same columns, and refuse other differences in what they would see."""
    loads = [settings["load_col"] for settings in (first, config)]
    if None in loads:
        first["load_col"] = None
    elif loads[0] != loads[1]:
        files = dict.fromkeys([*loads[0], *loads[1]])
        first["load_col"] = {file: _union(*(load.get(file, []) for load in loads)) for file in files}
    config["load_col"] = first["load_col"]
    for key in dict.fromkeys((*dataset_arguments, *SHARED_KEYS)):
        if key not in COLUMN_KEYS and _shared(first, config, key) != _shared(config, first, key):
            raise GenRecError(
                f"The models of a run share their data, but {key!r} is {first[key]!r} for {first['model']} and "
                f"{config[key]!r} for {config['model']}. Set it for both, or run them apart."
            )


def _shared(config, other, key):
    """What two models must agree about of a setting: how rankings are measured is none of a model of ratings."""
    if predicts_ratings(config.model_class) == predicts_ratings(other.model_class):
        return config[key]
    if key in OF_RANKINGS:
        return None
    return {**config[key], "mode": None} if key == "eval_args" else config[key]


def _union(columns, others):
    return "*" if "*" in (columns, others) else list(dict.fromkeys([*columns, *others]))


def _run_model(config, data, saved, folder):
    """Train and test a model; returns its :class:`RunResult`, and writes the outcomes of the test into ``folder``."""
    started = perf_counter()
    settings = plain(config.final_config_dict)  # as asked for: models and RecBole write into the configuration
    announce(config)
    trainer, loaders, building = _prepare(config, data)
    clock = Clock(saved)
    trainer.listeners += [clock, Curves(), Progress(config["eval_step"])]
    # RecBole's own lines of an epoch are left out: Progress has one
    best = trainer.fit(loaders["train"], loaders["valid"], False, saved, config["show_progress"])
    tested = measure_test(trainer, data, loaders["test"], saved)
    tested.write_outcomes(folder, config)
    tasks = test_tasks(trainer, data, loaders["test"], tested.metrics)
    cold = measure_cold(trainer, data)
    _log_tests(trainer.wandblogger, tested.metrics, cold)
    evaluated = clock.validations * len(data.parts[1]) + len(data.parts[2])
    return RunResult(
        model=config["model"],
        dataset=config["dataset"],
        seed=config["seed"],
        **selected_by_validation(config, *best, metric=getattr(trainer, "selects_by", None)),
        **tested.fields(),
        cold=cold,
        epochs=clock.epochs,
        curve=plain(clock.curve),
        seconds=_seconds(data, clock, tested, perf_counter() - started, building),
        users_per_second=evaluated / (clock.validation + tested.seconds),
        parameters=_count_parameters(trainer.model),
        tasks=tasks,
        usage=trainer.model.usage() if hasattr(trainer.model, "usage") else {},
        checkpoint=str(trainer.saved_model_file) if saved and trainer.saved_model_file else None,
        config=settings,
        versions=versions(),
        processes=current().size,
        hardware=hardware(config["device"]),
    )


def _prepare(config, data):
    """The trainer of a model that is not trained yet, and the loaders ``train``, ``valid`` and ``test``.

    Also the seconds that a model without epochs, such as EASE, took to compute what it knows.
    """
    # before the model: RecBole's transforms write into the configuration what BERT4Rec reads (transform.py:60)
    loaders = {phase: data.evaluation_loader(config, phase) for phase in ("valid", "test")}
    # RecBole seeds again here (quick_start.py:136): a model's start does not depend on the data or on other models.
    init_seed(config["seed"] + config["local_rank"], config["reproducibility"])
    started = perf_counter()
    model = build_model(config, data)
    building = perf_counter() - started if config["MODEL_TYPE"] == ModelType.TRADITIONAL else 0.0
    announce_model(model)
    loaders["train"] = data.train_loader(config, model)
    return get_trainer(config["MODEL_TYPE"], config["model"], current().size)(config, model), loaders, building


def test_tasks(trainer, data, loader, ranked):
    """Metrics of the tasks beside the ranking, and of held-out wordings, of a model that has any.

    Args:
        trainer: holds the model.
        data: :class:`SplitData`.
        loader: of the test.
        ranked: the metrics of the ranking.
    """
    config, model = trainer.config, trainer.model
    if not hasattr(model, "evaluate_tasks") or config["test_tasks"] is False:
        return {}

    def evaluate_ranking():
        return trainer.evaluate(loader, load_best_model=False, show_progress=False)

    with whole(model):
        return plain(model.evaluate_tasks(data.parts[2], config, ranked, evaluate_ranking))


def _log_tests(logger, metrics, cold):
    """Let Weights & Biases keep the test under ``eval/``, where every other evaluation has written, too."""
    logger.log_eval_metrics(metrics, head="eval")
    logger.log_eval_metrics(cold.get("test_result", {}), head="cold")
    logger.log_eval_metrics(cold.get("among_cold", {}).get("test_result", {}), head="among_cold")


def build_model(config, data):
    """The model of a configuration, on its device.

    Raises:
        GenRecError: it, or RecBole's, refuses a value.
    """
    try:
        model = config.model_class(config, data.train_part(config))
        if current().size > 1 and hasattr(model, "backbone") and config["distributed"] == "fsdp":
            if config["quantization"] not in (None, "none"):
                raise GenRecError(
                    "'distributed: fsdp' spreads weights of full precision: it takes 'quantization: none'."
                )
            spread_layers(model.backbone.model, config["device"])
        return model.to(config["device"])
    except (NotImplementedError, AssertionError, ValueError, ImportError, FileNotFoundError) as error:
        if config["model"] in MODELS:  # ours refuse a value with a GenRecError: this one is a bug
            raise
        # how RecBole's models refuse a value, e.g. of 'loss_type', or a dataset without a column that they read
        getLogger().debug("Where it was refused:", exc_info=True)
        raise GenRecError(f"{config['model']}: {error}") from error


def rehearse(configs, data):
    """Build models once before the first of a run is trained: none is refused after hours of another's training.

    A pretrained backbone is not loaded twice: its settings have been checked by then.

    Args:
        configs: of the models after the first. data: :class:`SplitData`.

    Raises:
        GenRecError: a model refuses a value.
    """
    for config in configs:
        if config["MODEL_TYPE"] == ModelType.TRADITIONAL:
            continue  # to build it is all of its training
        if config["backbone"] not in (None, SCRATCH) and config.model in MODELS:
            continue
        config = deepcopy(config)  # models and RecBole write into it
        for phase in ("valid", "test"):
            data.evaluation_loader(config, phase)
        init_seed(config["seed"] + config["local_rank"], config["reproducibility"])
        model = build_model(config, data)
        data.train_loader(config, model)


def _seconds(data, clock, tested, of_model, building):
    """Where the time of a model went; ``of_model`` is all but the reading of the data, which models share.

    ``building`` is part of the training; see :func:`_prepare`.
    """
    return Seconds(
        data=data.seconds,
        train=clock.training + building,
        validate=clock.validation,
        test=tested.seconds,
        total=data.seconds + of_model,
    )


def _count_parameters(model):
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    trainable = sum(size for size, trains in sizes if trains)
    return Parameters(total=sum(size for size, _ in sizes), trainable=trainable)

"""Settings: typed, described once, checked before anything runs; names of models, trainers and datasets."""

#: what checkpoints of RecBole's trainer hold, which earlier versions pickled under names of this module.
_PICKLED = {
    "GenRecConfig": "recbole_genrec.config.config:GenRecConfig",
    "YamlLoader": "recbole_genrec.config.yaml_settings:YamlLoader",
}


def __getattr__(name):
    if name in _PICKLED:
        from recbole_genrec.config.registry import resolve

        return resolve(_PICKLED[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

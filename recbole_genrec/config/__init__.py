"""Settings: typed, described once, checked before anything runs; names of models, trainers and datasets."""

"""No tensor is kept from epoch to epoch; ``benchmarks/soak.py`` is the long run, and follows all memory."""

import pytest

from benchmarks.soak import MODELS, soak


@pytest.mark.parametrize("model", MODELS)
def test_epochs_leave_no_tensors(tmp_path, monkeypatch, model):
    monkeypatch.chdir(tmp_path)
    row = soak(tmp_path / "data", model, epochs=5)
    assert row["tensors"] == 0 and row["tensor_kib"] == 0


def test_what_stays_is_seen(tmp_path, monkeypatch):
    """The check itself: a model that keeps its batches is caught."""
    from recbole_genrec.model.genrec import GenRec

    kept, loss = [], GenRec.calculate_loss

    def keeping(model, batch):
        kept.append(batch)
        return loss(model, batch)

    monkeypatch.setattr(GenRec, "calculate_loss", keeping)
    monkeypatch.chdir(tmp_path)
    assert soak(tmp_path / "data", "GenRec", epochs=5)["tensors"] > 0

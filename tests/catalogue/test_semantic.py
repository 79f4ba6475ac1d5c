import numpy as np
import pytest
import torch

from recbole_genrec.catalogue.schemes import Given, Sequences
from recbole_genrec.catalogue.schemes.rqvae import ResidualAutoencoder, Training, nearest, train
from recbole_genrec.catalogue.schemes.semantic import embed_items
from recbole_genrec.config.arguments import IndexingArguments
from recbole_genrec.errors import GenRecError

TOPICS = ["blue steel kettle", "wooden train set", "garden hose nozzle", "violin strings gold"]


@pytest.fixture
def clusters():
    """Two hundred vectors around eight centres, and the centre of each."""
    random = np.random.default_rng(0)
    centre = np.repeat(np.arange(8), 25)
    points = random.standard_normal((8, 16))[centre] + 0.05 * random.standard_normal((200, 16))
    return torch.from_numpy(points).float(), centre


def trained(vectors, levels=3, codes=8, steps=150, seed=0):
    return train(vectors, Training(levels, codes, 8, steps, 3e-3), np.random.default_rng(seed))


def test_nearest_codes():
    torch.manual_seed(0)
    points, codebook = torch.randn(30, 4), torch.randn(7, 4)
    assert torch.equal(nearest(points, codebook), torch.cdist(points, codebook).argmin(1))


def test_levels_quantise_what_is_left_over():
    torch.manual_seed(0)
    model = ResidualAutoencoder(6, 4, 3, 5)
    torch.nn.init.normal_(model.codebooks)
    latent = torch.randn(10, 4)
    codes, total, residuals = model.quantize(latent)
    for row in range(10):
        rest = latent[row]
        for level in range(3):
            assert torch.allclose(residuals[level, row], rest, atol=1e-5)
            distance = (model.codebooks[level] - rest).norm(dim=1)
            assert codes[row, level] == distance.argmin()
            rest = rest - model.codebooks[level, codes[row, level]]
        assert torch.allclose(total[row], latent[row] - rest, atol=1e-5)


def test_gradients_reach_all_parts(clusters):
    model = ResidualAutoencoder(16, 8, 2, 4)
    torch.nn.init.normal_(model.codebooks)
    model.loss(clusters[0])[0].backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_training_lowers_the_error_and_uses_the_codes(clusters):
    vectors, centre = clusters
    early, _ = trained(vectors, steps=1)
    late, _ = trained(vectors)
    assert late.reconstruction_error(vectors) < 0.5 * early.reconstruction_error(vectors) < vectors.var()
    codes = late.encode(vectors)
    assert min(len(level.unique()) for level in codes.T) >= 6
    assert [len(codes[centre == number, 0].unique()) for number in range(8)] == [1] * 8  # one code for each centre


def test_training_depends_on_its_seed_alone(clusters):
    vectors, _ = clusters
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    model, _ = trained(vectors, steps=60)
    assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == threads
    torch.rand(5)
    again, _ = trained(vectors, steps=60)
    other, _ = trained(vectors, steps=60, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values()))
    assert not torch.equal(model.codebooks, other.codebooks)


def test_dead_codes_are_put_to_use(clusters, monkeypatch):
    vectors, _ = clusters

    def far_away(model, batch, random):
        model.codebooks.data[:] = 100.0
        model.codebooks.data[:, 0] = 0.0

    monkeypatch.setattr("recbole_genrec.catalogue.schemes.rqvae._start_from_clusters", far_away)
    model, revived = trained(vectors, steps=400)
    assert revived >= 3 * 7
    assert min(len(level.unique()) for level in model.encode(vectors).T) >= 3
    monkeypatch.setattr("recbole_genrec.catalogue.schemes.rqvae.PATIENCE", 1000)
    without, revived = trained(vectors, steps=400)
    assert revived == 0
    assert max(len(level.unique()) for level in without.encode(vectors).T) == 1
    assert model.reconstruction_error(vectors) < 0.5 * without.reconstruction_error(vectors)


def test_similar_texts_share_codes(index):
    items = [f"i{number:03}" for number in range(80)]
    texts = [f"{TOPICS[number % 4]} no {number}" for number in range(80)]
    sequences = Sequences(["u"], np.arange(80), np.array([0, 80]))
    built = index("semantic", items, sequences, texts, semantic_codes=4, semantic_steps=200)
    assert len({pieces[0] for pieces in built.pieces}) == 4
    for topic in range(4):
        assert len({pieces[0] for pieces in built.pieces[topic::4]}) == 1
    assert built.collisions == 80 - len({pieces[:3] for pieces in built.pieces}) > 0
    assert all(code.level == 3 for pieces in built.pieces for code in pieces[3:])
    assert "tfidf" in built.facts["text embedding"]


def test_unseen_items_have_codes_by_their_text_and_change_no_other(index):
    items = [f"i{number:03}" for number in range(60)]
    texts = [f"{TOPICS[number % 4]} no {number}" for number in range(60)]
    sequences = Sequences(["u"], np.arange(40), np.array([0, 40]))
    built = index("semantic", items, sequences, texts, semantic_codes=4, semantic_steps=200)
    assert all(built.pieces[place][0] == built.pieces[place % 4][0] for place in range(40, 60))
    alone = index("semantic", items[:40], sequences, texts[:40], semantic_codes=4, semantic_steps=200)
    assert alone.pieces == built.pieces[:40]


def given(texts, source, embed_texts=None):
    settings = IndexingArguments(text_embedding=source, text_embedding_revision="v2")
    return Given(texts, texts, settings=settings, embed_texts=embed_texts, n_seen=len(texts))


def test_vectors_from_a_backbone():
    vectors = embed_items(given(["Heat", None, "Fargo"], "backbone", lambda texts: np.ones((len(texts), 5))))
    assert vectors.tolist() == [[1] * 5, [0] * 5, [1] * 5]  # nothing is known of an item without text
    with pytest.raises(GenRecError, match="'text_embedding: backbone' needs a pretrained 'backbone'"):
        embed_items(given(["Heat"], "backbone"))

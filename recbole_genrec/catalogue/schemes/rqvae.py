"""A residual-quantised autoencoder (RQ-VAE): a vector becomes a few codes, from coarse to fine.

References: Zeghidour et al. 2021, "SoundStream", arXiv 2107.03312 (residual quantisation, k-means start, dead codes);
Rajput et al. 2023, "Recommender Systems with Generative Retrieval", arXiv 2305.05065 (TIGER).

Letters: I items, B batch, D input size, Z latent size, L levels, C codes of a level.
"""

from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import nn
from torch.nn.functional import mse_loss

from recbole_genrec.catalogue.schemes.clusters import k_means

#: vectors of a training step.
BATCH = 512
#: weight of the loss that keeps the encoder near its codes.
COMMITMENT = 0.25
#: a code that no vector has taken for this many steps is dead; dead codes are looked for at this interval.
PATIENCE = 50


class ResidualAutoencoder(nn.Module):
    """An encoder, L codebooks, each of which quantises the residual of those before it, and a decoder."""

    def __init__(self, input_size, latent_size, levels, codes):
        super().__init__()
        hidden = 4 * latent_size
        self.encoder = nn.Sequential(nn.Linear(input_size, hidden), nn.ReLU(), nn.Linear(hidden, latent_size))
        self.decoder = nn.Sequential(nn.Linear(latent_size, hidden), nn.ReLU(), nn.Linear(hidden, input_size))
        self.codebooks = nn.Parameter(torch.zeros(levels, codes, latent_size))

    def quantize(self, latent):
        """Quantise latent vectors.

        Args:
            latent: ``[B, Z]``.

        Returns:
            Codes ``[B, L]``, the sums of their vectors ``[B, Z]``, and the residuals that each level quantised
            ``[L, B, Z]``.
        """
        residual, codes, residuals = latent, [], []
        total = torch.zeros_like(latent)
        for codebook in self.codebooks:
            code = nearest(residual, codebook)
            vector = codebook[code]
            codes.append(code)
            residuals.append(residual)
            total = total + vector
            residual = residual - vector.detach()
        return torch.stack(codes, 1), total, torch.stack(residuals)

    def loss(self, vectors):
        """Reconstruction, codebook and commitment loss of ``vectors [B, D]``; with it, codes and residuals."""
        latent = self.encoder(vectors)
        codes, total, residuals = self.quantize(latent)
        chosen = self.codebooks[torch.arange(len(self.codebooks))[:, None], codes.T]  # [L, B, Z]
        loss = mse_loss(self.decoder(latent + (total - latent).detach()), vectors)  # straight through the codes
        loss = loss + mse_loss(chosen, residuals.detach()) + COMMITMENT * mse_loss(residuals, chosen.detach())
        return loss, codes, residuals.detach()

    @torch.no_grad()
    def encode(self, vectors):
        """Codes ``[B, L]`` of vectors ``[B, D]``."""
        return self.quantize(self.encoder(vectors))[0]

    @torch.no_grad()
    def reconstruction_error(self, vectors):
        """Mean squared error of ``vectors [B, D]`` reconstructed from their codes."""
        return mse_loss(self.decoder(self.quantize(self.encoder(vectors))[1]), vectors).item()


@torch.no_grad()
def nearest(points, codebook):
    """Numbers ``[B]`` of the codes ``[C, Z]`` that are nearest to ``points [B, Z]``."""
    return torch.addmm(codebook.square().sum(1), points, codebook.T, alpha=-2).argmin(1)


class Training(NamedTuple):
    """Shape of an autoencoder and length of its training."""

    levels: int
    #: codes of a level.
    codes: int
    latent_size: int
    steps: int
    #: of Adam.
    learning_rate: float


def train(vectors, settings, random):
    """Train an autoencoder.

    Args:
        vectors: ``[I, D]`` float32 tensor, I at least 1.
        settings: :class:`Training`.
        random: a numpy generator of all random numbers; torch's own are left alone.

    Returns:
        The :class:`ResidualAutoencoder`, and the number of dead codes that were put to use again.
    """
    levels, codes = settings.levels, settings.codes
    with _reproducible(random):
        model = ResidualAutoencoder(vectors.shape[1], settings.latent_size, levels, codes)
        optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
        _start_from_clusters(model, vectors[_draw(vectors, random)], random)
        idle, revived = torch.zeros(levels, codes, dtype=torch.long), 0  # steps without a vector, by code
        for step in range(settings.steps):
            batch = vectors[_draw(vectors, random)]
            loss, chosen, residuals = model.loss(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            idle += 1
            idle[torch.arange(levels), chosen] = 0
            # not near the end: a moved code needs time to settle
            if step % PATIENCE == PATIENCE - 1 and step < 0.8 * settings.steps:
                revived += _revive(model, idle, residuals, random)
        return model.eval(), revived


@contextmanager
def _reproducible(random):
    """One thread, since several add in any order, and torch's random numbers seeded and put back afterwards."""
    n_threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]), threadpool_limits(1):
        torch.default_generator.manual_seed(int(random.integers(2**31)))
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(n_threads)


def _draw(vectors, random):
    return torch.from_numpy(random.permutation(len(vectors))[:BATCH])


@torch.no_grad()
def _start_from_clusters(model, batch, random):
    """Start each codebook at cluster centres of the residuals that it quantises."""
    residual = model.encoder(batch)
    for codebook in model.codebooks:
        _, centres = k_means(residual.numpy(), len(codebook), random)
        codebook.copy_(_scattered(residual, len(codebook), random))
        codebook[: len(centres)] = torch.from_numpy(centres)
        residual = residual - codebook[nearest(residual, codebook)]


@torch.no_grad()
def _revive(model, idle, residuals, random):
    """Move dead codes to random residuals of their level.

    A small catalogue may leave codes dead: it has fewer vectors than a level has codes.

    Args:
        model: its codebooks are changed.
        idle: steps since a vector took each code ``[L, C]``; set to 0 for those moved.
        residuals: ``[L, B, Z]``.
        random: a numpy generator.

    Returns:
        The number of codes moved.
    """
    dead = idle >= PATIENCE
    for codebook, level_dead, points in zip(model.codebooks, dead, residuals):
        if level_dead.any():
            codebook[level_dead] = _scattered(points, int(level_dead.sum()), random)
    idle[dead] = 0
    return int(dead.sum())


def _scattered(points, count, random):
    """``count`` of the ``points [N, Z]``, drawn at random, with a little noise ``[count, Z]``."""
    chosen = points[torch.from_numpy(random.integers(len(points), size=count))]
    noise = torch.from_numpy(random.standard_normal(chosen.shape).astype(np.float32))
    return chosen + 0.01 * points.std().nan_to_num() * noise

"""Vectors of texts from the hidden states of a pretrained backbone.

Letters: B texts at once, T tokens, H hidden size.
"""

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

#: most tokens of a text that are read.
LONGEST = 256


@torch.no_grad()
def embed_texts(backbone, texts, device, batch_size=64):
    """Mean of each text's last hidden states.

    Args:
        backbone: a :class:`~recbole_genrec.backbone.backbone.Backbone`, which moves to ``device``; a quantised one
            stays where it is.
        texts: list of texts; one without tokens has a zero vector.
        device: where to compute.
        batch_size: texts at once.

    Returns:
        Float32 array ``[len(texts), H]``.
    """
    if not getattr(backbone.model, "is_quantized", False):
        backbone.model.to(device)
    training = backbone.training
    backbone.eval()
    longest = min(LONGEST, backbone.max_positions or LONGEST)
    tokens = [ids[:longest] for ids in backbone.encode_many(texts)]
    vectors = np.zeros((len(texts), backbone.hidden_size), np.float32)
    order = sorted((place for place in range(len(texts)) if tokens[place]), key=lambda place: len(tokens[place]))
    for begin in range(0, len(order), batch_size):
        places = order[begin : begin + batch_size]
        rows = [torch.tensor(tokens[place], device=device) for place in places]
        hidden = backbone(backbone.embed(pad_sequence(rows, batch_first=True))).float()  # [B, T, H], right-padded
        lengths = torch.tensor([len(row) for row in rows], device=device)
        real = torch.arange(hidden.shape[1], device=device) < lengths[:, None]
        mean = (hidden * real[..., None]).sum(1) / lengths[:, None]
        vectors[places] = mean.cpu().numpy()
    backbone.train(training)
    return vectors

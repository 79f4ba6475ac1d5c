"""Free text behind prompts, token by token the likeliest, for a causal language model.

Letters: B prompts, T cells, H hidden size.
"""

import torch

from recbole_genrec.decoding.finite import check_scores


@torch.no_grad()
def greedy_texts(backbone, embeds, lengths, longest):
    """Continue prompts until each has its end token, or ``longest`` tokens.

    Args:
        backbone: :class:`~recbole_genrec.backbone.backbone.Backbone`.
        embeds: input embeddings of the prompts, right-padded ``[B, T, H]``.
        lengths: of the prompts ``[B]``.
        longest: tokens of a text at most.

    Returns:
        A list of texts without special tokens.

    Raises:
        GenRecError: a logit is not finite.
    """
    count, width = embeds.shape[:2]
    end, device = backbone.eos_id, embeds.device
    shown = torch.arange(width, device=device) < lengths[:, None]  # [B, T]
    mask = torch.ones(width, width, dtype=torch.bool, device=device).tril() & shown[:, None]  # all see the first cell
    cache = backbone.new_cache(count, 0)
    hidden = backbone(embeds, mask=mask, cache=cache)[torch.arange(count, device=device), lengths - 1]
    written, ended = [], torch.zeros(count, dtype=torch.bool, device=device)
    for number in range(longest):
        logits = backbone.logits(hidden)
        check_scores(backbone, None, logits, f"after token {number} of a text", "prompts")
        token = logits.argmax(-1).masked_fill(ended, end)
        ended |= token == end
        written.append(token)
        if ended.all() or number + 1 == longest:
            break
        shown = torch.cat([shown, torch.ones_like(shown[:, :1])], 1)
        hidden = backbone(backbone.embed(token[:, None]), (lengths + number)[:, None], shown[:, None], cache)[:, 0]
    texts = backbone.tokenizer.batch_decode(torch.stack(written, 1), skip_special_tokens=True)
    return [text.strip() for text in texts]

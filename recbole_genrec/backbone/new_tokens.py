"""New tokens of a language model: codes of item identifiers, which no text can spell.

Letters: V tokens before, N new ones, H hidden size.
"""

import torch
from tokenizers import AddedToken

from recbole_genrec.errors import GenRecError


def add_tokens(backbone, names, seed):
    """Add tokens to a backbone's tokenizer and to its embeddings.

    The tokens are special ones, so that text that looks like one of them stays plain text. A new row of the embeddings,
    and of the output head if it has separate weights, is drawn like the existing rows: from normal distributions with
    their mean and standard deviation in each dimension. (``transformers`` would draw all new rows within 1e-9 of the
    mean, and tokens that begin alike are hard to tell apart.)

    Args:
        backbone: a :class:`~recbole_genrec.backbone.backbone.Backbone` without an adapter; it is changed in place.
        names: N names of new tokens.
        seed: of the new rows; torch's global generator is not used.

    Returns:
        List of N token ids.

    Raises:
        GenRecError: the tokenizer already has a token of one of these names.
    """
    if not names:
        return []
    tokenizer, model = backbone.tokenizer, backbone.model
    known = tokenizer.get_vocab()
    for name in names:
        if name in known:
            raise GenRecError(f"The backbone's tokenizer has a token {name!r} already, which item indexing would add.")
    n_before = len(tokenizer)
    tokenizer.add_tokens([AddedToken(name, special=True, normalized=False) for name in names], special_tokens=True)
    ids = tokenizer.convert_tokens_to_ids(names)
    with torch.random.fork_rng(devices=[]):  # transformers draws random rows, too
        if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:  # else padding rows are used
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    generator = torch.Generator().manual_seed(seed)
    for table in _tables(model):
        _draw_rows(table.weight, ids, n_before, generator)
        if getattr(table, "bias", None) is not None:
            with torch.no_grad():
                table.bias[ids] = table.bias[:n_before].mean()
    return ids


def other_tokens(stored, current):
    """The first difference between a stored tokenizer and a model's, in words, or ``None``.

    Tokenizers with equal vocabularies count as equal: they come from the same training or the same files.
    """
    there, here = stored.get_vocab(), current.get_vocab()
    if there == here:
        return None
    if len(there) != len(here):
        return f"{len(there):,} tokens there, {len(here):,} here"
    number, token = min((number, token) for token, number in there.items() if here.get(token) != number)
    return f"token {number} is {token!r} there and {current.convert_ids_to_tokens(number)!r} here"


def _draw_rows(weight, ids, n_before, generator):
    """Draw rows ``ids`` [N] of ``weight`` [V + N, H] like the first V ones, in place."""
    with torch.no_grad():
        old = weight[:n_before].float()
        noise = torch.randn(len(ids), weight.shape[1], generator=generator).to(weight.device)
        weight[ids] = (old.mean(0) + old.std(0) * noise).to(weight.dtype)


def _tables(model):
    """The input embeddings, and the output head if it has separate weights."""
    inputs, head = model.get_input_embeddings(), model.get_output_embeddings()
    return [inputs] if head is None or head.weight is inputs.weight else [inputs, head]


def token_rows(model, ids):
    """The value of peft's ``trainable_token_indices``: rows ``ids`` of every table that holds them, by module name.

    Only these rows are trained and stored. Whole tables (``modules_to_save``) would be a hundred times larger than the
    adapter, and would change the tokens of plain text, too. A head with tied weights follows the embeddings.

    Raises:
        GenRecError: the head has a bias, which peft does not train by row.
    """
    tables = _tables(model)
    if getattr(model.get_output_embeddings(), "bias", None) is not None:
        raise GenRecError(
            "This backbone's output head has a bias, and peft cannot train rows of such a head. Use 'adapter: none', "
            "an item indexing without new tokens, or another backbone."
        )
    return {name: list(ids) for name, module in model.named_modules() if any(module is table for table in tables)}


def trained_rows(table, token_ids):
    """Rows ``[..., H]`` of a table in which peft trains the new tokens; peft itself would copy the whole table.

    Args:
        table: peft's wrapper around embeddings or a head, of whose rows ``token_rows`` are trained.
        token_ids: any shape.
    """
    adapter = table.token_adapter
    (name,) = adapter.active_adapters
    old, rows = adapter.base_layer.weight[token_ids], adapter.trainable_tokens_delta[name]
    position = token_ids - adapter.token_indices[name][0]  # new tokens are numbered consecutively
    new = (position >= 0) & (position < len(rows))
    return torch.where(new[..., None], rows[position.clamp(0, len(rows) - 1)].to(old.dtype), old)

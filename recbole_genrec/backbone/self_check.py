"""A check on a few tokens that a language model computes what packed training and search need.

Training lays responses out as branches of one history, and search feeds siblings of a tree at once. Both need a model
in which a token's position id and mask count, not its column in the sequence. Models that count positions themselves
(ALiBi), carry a state (Mamba, RWKV) or mix neighbouring columns (convolutions) do not work.

One example, of a trunk of four tokens with two branches, as it is fed::

    column     0   1   2   3 | 4   5 | 6   7
    token      t0  t1  t2  t3  a0  a1  b0  b1
    position   0   1   2   3   2   3   4   5
    sees       causally      | t0 t1 | t0 t1 t2 t3, and its branch

The states of ``a0 a1`` must be those of the plain sequence ``t0 t1 a0 a1``, and ``b0 b1`` likewise at the trunk's end.
The check repeats the first branch until the columns run as far ahead of the positions as in a long window of training:
some families look back over a fixed number of columns, whatever the positions.

Letters: N trunk tokens, T all tokens, H hidden size.
"""

import inspect
import warnings

import torch

from recbole_genrec.backbone.branches import BranchChunk, BranchMask
from recbole_genrec.errors import GenRecError

#: tokens of the two branches.
BRANCHES = (16, 4)
#: columns of a packed window or of a search, as a multiple of the longest prompt.
COLUMNS = 4
#: most columns of branches: families that count columns look back over fewer.
MOST_COLUMNS = 4096
#: largest difference of states by rounding, relative to their norm: in float32, and in coarser types. Twelve random
#: layers of bfloat16 reached 0.024. A wrong position or a missing token changes states by about their norm.
TOLERANCE = {torch.float32: 0.01, torch.float64: 0.01}
COARSE_TOLERANCE = 0.2
#: fraction of the tokens that must agree: in half precision, rounding may decide between two nearly tied experts.
ALIKE = 0.75
#: errors of a model that gets inputs it does not expect.
FAILURES = (TypeError, ValueError, RuntimeError, AttributeError, IndexError, KeyError, NotImplementedError)


@torch.no_grad()
def self_check(backbone, name, longest, packs=True, virtual=0):
    """Refuse a causal language model that packed training or search would compute wrongly.

    A model that is right with a plain mask, but not with the faster kernel for branches, does not use that kernel.

    Args:
        backbone: a :class:`~recbole_genrec.backbone.backbone.Backbone`; its ``fast_branches`` may be set to false.
        name: what the user calls it.
        longest: tokens that a prompt may have with its response.
        packs: whether training packs responses; if not, only search is checked.
        virtual: tokens that an adapter will put before every prompt.

    Raises:
        GenRecError: it would; the message names the family and the reason.
    """
    config = backbone.config
    family = f"The backbone {name!r} is of the family {config.model_type!r}, which cannot be used: "
    forward = inspect.signature(type(backbone.causal_model.base_model).forward)
    if "position_ids" not in forward.parameters or getattr(config, "alibi", False):
        raise GenRecError(
            f"{family}it takes no position ids, so responses cannot branch off a history (models with ALiBi, or with a "
            "state instead of attention). Use a family with rotary or learned positions, such as Llama, Qwen or Gemma."
        )
    window = attention_window(config)
    if window is not None and longest + virtual > window:
        beside = f", with {virtual} of the adapter," if virtual else ""
        raise GenRecError(
            f"'max_prompt_tokens' ({longest}){beside} is above the window of {window} tokens that layers of the "
            f"backbone {name!r} look back over: set it to {window - virtual} at most."
        )
    trains = backbone.training
    backbone.eval()
    try:
        problem = _problem(backbone, _Example(backbone, longest), packs)
    except torch.cuda.OutOfMemoryError:  # not the family's fault
        raise
    except FAILURES as error:
        problem = f"it fails at what the engine feeds it ({type(error).__name__}: {_first_line(error)})"
    finally:
        backbone.train(trains)
    if problem:
        raise GenRecError(f"{family}{problem}.")


@torch.no_grad()
def check_adapter(backbone, arguments):
    """Refuse virtual tokens before a language model that would see others than plain ``peft`` shows it.

    Args:
        backbone: with an adapter of virtual tokens.
        arguments: :class:`~recbole_genrec.config.arguments.BackboneArguments`.

    Raises:
        GenRecError: the logits of a short prompt are others, or the family fails at them.
    """
    refused = (
        f"'adapter: {arguments.adapter}' cannot be used with the backbone {arguments.backbone!r}, of the family "
        f"{backbone.config.model_type!r}: "
    )
    table = backbone.causal_model.get_input_embeddings().weight
    embeds = backbone.embed(torch.arange(1, 7, device=table.device)[None] % len(table))
    trains = backbone.training
    backbone.eval()
    try:
        if backbone.is_encoder_decoder:
            encoded = backbone.read(embeds, torch.tensor([embeds.shape[1]], device=table.device))
            ours = backbone.logits(backbone(backbone.start(1), prompts=encoded))
            asked = {"decoder_inputs_embeds": backbone.start(1)}
        else:
            ours, asked = backbone.logits(backbone(embeds)), {}
        with warnings.catch_warnings():  # peft calls an argument by the name that transformers has given up
            warnings.filterwarnings("ignore", ".*past_key_values.* is deprecated", FutureWarning)
            theirs = backbone.model(inputs_embeds=embeds, **asked).logits[:, -ours.shape[1] :]
        same = _alike(ours.to(theirs.dtype), theirs)
    except torch.cuda.OutOfMemoryError:
        raise
    except FAILURES as error:
        raise GenRecError(f"{refused}it fails ({type(error).__name__}: {_first_line(error)}).") from error
    finally:
        backbone.train(trains)
    if not same:
        raise GenRecError(f"{refused}its tokens do not see what peft shows them.")


def attention_window(config):
    """Smallest attention window of the layers, in tokens, or ``None`` if all see everything."""
    kinds = set(getattr(config, "layer_types", None) or ("sliding_attention",))
    windows = {"sliding_attention": "sliding_window", "chunked_attention": "attention_chunk_size"}
    sizes = [getattr(config, key, None) for kind, key in windows.items() if kind in kinds]
    return min(filter(None, sizes), default=None)


def _first_line(error):
    return (str(error).splitlines() or [""])[0][:200]


class _Example:
    """The example of the module's header: a trunk, copies of a branch off its middle, and a branch off its end.

    Attributes:
        trunk, first, last: input embeddings ``[1, N, H]``, ``[1, 16, H]`` and ``[1, 4, H]``.
        fork: trunk tokens before the first branch.
        copies: how often the first branch is fed.
        plain_first, plain_last: states of the branches in plain sequences.
    """

    def __init__(self, backbone, longest):
        n_first, n_last = BRANCHES
        n_trunk = max(2, longest - n_last)
        self.fork = max(1, min(n_trunk // 2, longest - n_first))
        self.copies = max(1, min((COLUMNS - 1) * longest, MOST_COLUMNS) // n_first)
        device = backbone.causal_model.get_input_embeddings().weight.device
        ids = torch.arange(n_trunk + n_first + n_last, device=device) * 7 % max(1, backbone.vocab_size - 1) + 1
        self.trunk, self.first, self.last = backbone.embed(ids[None]).split([n_trunk, n_first, n_last], 1)
        self.plain_first = backbone(torch.cat([self.trunk[:, : self.fork], self.first], 1))[:, self.fork :]
        self.whole = torch.cat([self.trunk, self.last], 1)
        self.plain_last = backbone(self.whole)[:, n_trunk:]
        self.device = device

    def branches(self, forks):
        """Copies of the first branch and the last one, which leave the trunk after ``forks`` tokens.

        Returns:
            Embeddings ``[1, Q, H]``, position ids ``[1, Q]``, and what they see of the trunk and of themselves
            ``[1, Q, N + Q]``.
        """
        parts = [self.first] * self.copies + [self.last]
        length = torch.tensor([part.shape[1] for part in parts])
        fork = torch.tensor([forks[0]] * self.copies + [forks[1]])
        owner = torch.arange(len(parts)).repeat_interleave(length)
        order = torch.cat([torch.arange(part.shape[1]) for part in parts])
        trunk = torch.arange(self.trunk.shape[1]) < fork[owner][:, None]
        branch = (owner[:, None] == owner) & (order[:, None] >= order)
        mask = torch.cat([trunk, branch], 1)[None]
        return torch.cat(parts, 1), (fork[owner] + order)[None].to(self.device), mask.to(self.device)


def _problem(backbone, example, packs):
    """What the model computes otherwise than token after token, or ``None``."""
    logits = backbone.causal_model(inputs_embeds=example.whole, use_cache=False).logits[:, -BRANCHES[1] :]
    if not _alike(backbone.logits(example.plain_last).to(logits.dtype), logits):
        return "its head makes other scores of its states, in a way that is not known here"
    if packs and not _packed(backbone, example):
        return (
            "its tokens do not stand where their position ids and mask put them (ALiBi, a window of columns, a state "
            "beside attention)"
        )
    if not _alike(_searched(backbone, example), example.plain_last):
        return "with the cache that search fills, its states are others"
    return None


def _packed(backbone, example):
    """Whether packed branches have the states of plain sequences; settles which kernel computes them."""
    n_trunk = example.trunk.shape[1]
    embeds, position, mask = example.branches((example.fork, n_trunk))
    embeds = torch.cat([example.trunk, embeds], 1)
    position = torch.cat([torch.arange(n_trunk, device=position.device)[None], position], 1)
    causal = torch.ones(n_trunk, embeds.shape[1], dtype=torch.bool, device=mask.device).tril()
    right = _same_branches(backbone(embeds, position, torch.cat([causal[None], mask], 1)), example)
    if right and backbone.mask_kind == "branches":
        chunk = BranchChunk(n_trunk, embeds.shape[1], n_trunk, n_trunk, mask)
        try:
            states = backbone(embeds, position, BranchMask(n_trunk, [chunk]))
            backbone.fast_branches = _same_branches(states, example)
        except FAILURES:
            backbone.fast_branches = False
    return right


def _same_branches(states, example):
    """Whether all branches among packed states ``[1, T, H]`` are as in plain sequences."""
    branches, last = states[:, example.trunk.shape[1] :].split([example.copies * BRANCHES[0], BRANCHES[1]], 1)
    return _alike(branches, example.plain_first.repeat(1, example.copies, 1)) and _alike(last, example.plain_last)


def _searched(backbone, example):
    """States of the last branch ``[1, 4, H]``, fed as search feeds a tree.

    The prompt goes into a cache, then its last token, then all branches, which hang off it, at once.
    """
    body, device = example.trunk.shape[1] - 1, example.device
    cache = backbone.new_cache(1, body)
    backbone.fill(example.trunk[:, :body], cache, torch.zeros(1, dtype=torch.long, device=device))
    sees_all = torch.ones(1, 1, body + 1, dtype=torch.bool, device=device)
    backbone(example.trunk[:, body:], torch.full((1, 1), body, device=device), sees_all, cache)
    embeds, position, mask = example.branches((body + 1, body + 1))
    if backbone.max_positions is not None:  # the first branch does not fit behind the whole trunk, and is not compared
        position = position.clamp_max(backbone.max_positions - 1)
    return backbone(embeds, position, mask, cache)[:, -BRANCHES[1] :]


def _alike(states, expected):
    """Whether states ``[1, T, H]`` of most tokens are the same but for rounding."""
    tolerance = TOLERANCE.get(expected.dtype, COARSE_TOLERANCE)
    apart = (states.float() - expected.float()).norm(dim=-1) / expected.float().norm(dim=-1).clamp_min(1e-6)
    return bool((apart <= tolerance).float().mean() >= ALIKE)

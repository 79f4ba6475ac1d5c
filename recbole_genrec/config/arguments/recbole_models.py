"""Settings of RecBole's own sequential models. RecBole's YAML files name those that a model reads, but for a few.

General models read some of them, too; :mod:`.recbole_general` has the others.
"""

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from recbole_genrec.config.arguments.base import Settings, group
from recbole_genrec.config.arguments.types import Above0, AtLeast0, Count, Flag, Form, Names, Positive, Ratio, Text

Width = Annotated[int, Ge(1), Le(65_536)]
Activation = Literal["gelu", "relu", "swish", "tanh", "sigmoid"]
Numbers = Annotated[float | list[AtLeast0], Form("a number of at least 0, or a list of some")]
Merging = Literal["replace", "add", "half"]

#: keys that RecBole's code of a model reads although no YAML file of it names them.
NOT_IN_YAML = {
    "DiffRec": ("norm",),
    "FEARec": ("contrast", "sim", "tau", "use_filter"),  # fearec.py:88-90, 630
    "HRM": ("reg_weight",),
    "LDiffRec": ("norm",),
}


@group
class RecBoleModelSettings(Settings):
    """Settings of RecBole's sequential models."""

    n_layers: Annotated[int, Ge(1), Le(1_000)] = 2
    """Number of layers."""
    num_layers: Annotated[int, Ge(1), Le(1_000)] = 1
    """Number of layers."""
    n_heads: Annotated[int, Ge(1), Le(65_536)] = 2
    """Number of attention heads; it divides the width."""
    hidden_size: Width = 64
    """Width of the hidden states."""
    embedding_size: Width = 64
    """Width of the embeddings."""
    kg_embedding_size: Width = 64
    """Width of the embeddings of a knowledge graph."""
    inner_size: Annotated[int, Ge(1), Le(1_000_000)] = 256
    """Width of the feed-forward layers."""
    mlp_hidden_size: Annotated[list[Positive], Form("a list of whole numbers of at least 1")] = (256, 256, 256)
    """Widths of the layers of a perceptron."""
    hidden_dropout_prob: Ratio = 0.5
    """Dropout on hidden states."""
    attn_dropout_prob: Ratio = 0.5
    """Dropout on attention."""
    dropout_prob: Ratio = 0.3
    """Dropout."""
    dropout_probs: Annotated[list[Ratio], Form("a list of numbers from 0 to 1")] = (0.25, 0.5)
    """Dropout on embeddings and on the session's state."""
    item_dropout: Ratio = 0.2
    """Dropout on item embeddings."""
    sess_dropout: Ratio = 0.2
    """Dropout on the session's state."""
    hidden_act: Activation = "gelu"
    """Activation of the feed-forward layers."""
    layer_norm_eps: Above0 = 1e-12
    """Constant of the layer norms."""
    initializer_range: AtLeast0 = 0.02
    """Standard deviation of new weights."""
    loss_type: Literal["CE", "BPR", "NLL"] = "CE"
    """Cross-entropy over the catalogue, or BPR with negative samples."""
    mask_ratio: Annotated[float, Gt(0), Lt(1)] = 0.2
    """Share of a sequence's items that are masked."""
    ft_ratio: Ratio = 0.5
    """Share of the sequences whose last item alone is masked."""
    selected_features: Annotated[Names, Form("a list of columns")] = ("class",)
    """``.item`` columns that are embedded."""
    item_attribute: Text = "class"
    """``.item`` column of attributes."""
    pooling_mode: Literal["mean", "max", "sum"] = "mean"
    """Pooling of columns of lists."""
    pooling_type: Literal["average", "max"] = "average"
    """Pooling of the sequence."""
    pooling_type_layer_1: Literal["max", "average"] = "max"
    """Pooling of the first layer."""
    pooling_type_layer_2: Literal["max", "average"] = "max"
    """Pooling of the second layer."""
    train_stage: Literal["pretrain", "finetune"] = "pretrain"
    """Stage of training."""
    pretrain_epochs: Count = 500
    """Epochs of pretraining."""
    pre_model_path: Text = ""
    """Checkpoint of a pretraining."""
    save_step: Positive = 50
    """Epochs between checkpoints of a pretraining."""
    aap_weight: AtLeast0 = 0.2
    """Weight of the loss of attributes by item."""
    mip_weight: AtLeast0 = 1.0
    """Weight of the loss of masked items."""
    map_weight: AtLeast0 = 1.0
    """Weight of the loss of masked attributes."""
    sp_weight: AtLeast0 = 0.5
    """Weight of the loss of segments."""
    reg_weight: Numbers = 0.0
    """Weight of the regularisation."""
    alpha: AtLeast0 = 0.6
    """Exponent or weight that the model's paper calls alpha."""
    gamma: float = 10.0
    """Scale that the model's paper calls gamma."""
    weight: Ratio = 0.6
    """Weight of self-attention against the last item."""
    step: Annotated[int, Ge(1), Le(1_000)] = 1
    """Steps of the gated graph network."""
    temperature: Above0 = 0.07
    """Temperature of the softmax."""
    dnn_type: Literal["trm", "ave"] = "trm"
    """Encoder: a transformer, or the mean."""
    gru_type: Literal["GRU", "AIGRU", "AGRU", "AUGRU"] = "AUGRU"
    """Kind of recurrent layer."""
    high_order: Positive = 2
    """Number of last items."""
    order_len: Positive = 3
    """Number of last items."""
    short_item_length: Positive = 2
    """Number of last items of the short-term interest."""
    nh: Positive = 8
    """Horizontal filters."""
    nv: Positive = 4
    """Vertical filters."""
    block_num: Annotated[int, Ge(1), Le(1_000)] = 5
    """Residual blocks."""
    kernel_size: Positive = 3
    """Width of the convolutions."""
    dilations: Annotated[list[Positive], Form("a list of whole numbers of at least 1")] = (1, 4)
    """Dilations of the convolutions of a block."""
    k_interests: Positive = 5
    """Number of latent interests."""
    interest_size: Positive = 3
    """Number of interests of a user."""
    prototype_size: Positive = 50
    """Number of prototypes of interests."""
    tau_ratio: Above0 = 0.1
    """Temperature of the interests."""
    reg_loss_ratio: AtLeast0 = 0.5
    """Weight of the regularisation."""
    joint_train: Flag = False
    """Train the mode of repetition jointly."""
    freeze_kg: Flag = True
    """Keep the vectors of the knowledge graph as they are."""
    lmd: AtLeast0 = 0.1
    """Weight of the unsupervised contrastive loss."""
    lmd_sem: AtLeast0 = 0.1
    """Weight of the supervised contrastive loss."""
    contrast: Text = ""
    """Kind of contrastive loss, such as ``us_x``."""
    tau: Above0 = 1.0
    """Temperature of the contrastive loss."""
    sim: Literal["dot", "cos"] = "dot"
    """Similarity of the contrastive loss."""
    fredom: Flag = False
    """Regularise in the frequency domain."""
    fredom_type: Annotated[str | None, Form("us, un, su, us_su or us_x, or empty")] = None
    """What is regularised in the frequency domain."""
    dual_domain: Flag = False
    """Attention in the frequency domain, too."""
    global_ratio: Ratio = 1
    """Share of the frequencies that a layer sees."""
    spatial_ratio: Ratio = 0
    """Share of the attention in the time domain."""
    std: Flag = False
    """Standard frequency sampling."""
    topk_factor: Annotated[float, Gt(0)] = 1
    """Share of delays that attention keeps."""
    use_filter: Flag = False
    """Filter in the frequency domain."""
    n_facet: Count = 1
    """Softmax-CPR: facets of the mixture."""
    n_facet_all: Count = 5
    """Softmax-CPR: facets in all."""
    n_facet_context: Count = 1
    """Softmax-CPR: facets of the context partition."""
    n_facet_emb: Literal[0, 2] = 2
    """Softmax-CPR: facets of the pointer network."""
    n_facet_hidden: Positive = 1
    """Softmax-CPR: hidden states of the facets."""
    n_facet_reranker: Count = 1
    """Softmax-CPR: facets of the reranker partition."""
    n_facet_MLP: Annotated[int, Le(0)] = -1
    """Softmax-CPR: 0 or below."""
    n_facet_window: Annotated[int, Le(0)] = -2
    """Softmax-CPR: 0 or below."""
    context_norm: Annotated[int, Ge(0), Le(1)] = 1
    """Softmax-CPR: norm of the context partition."""
    post_remove_context: Annotated[int, Ge(0), Le(1)] = 0
    """Softmax-CPR: remove the context after the softmax."""
    use_proj_bias: Annotated[int, Ge(0), Le(1)] = 1
    """Softmax-CPR: bias of the projections."""
    use_out_emb: Flag = False
    """Softmax-CPR: output embeddings of their own."""
    weight_mode: Text = ""
    """Softmax-CPR: weights of the facets."""
    partition_merging_mode: Merging = "replace"
    """Softmax-CPR: how the context partition is merged."""
    reranker_merging_mode: Merging = "replace"
    """Softmax-CPR: how the reranker partition is merged."""
    reranker_CAN_NUM: Annotated[int | str, Form("a whole number of at least 1, or several with commas")] = 100
    """Softmax-CPR: candidates of the reranker."""

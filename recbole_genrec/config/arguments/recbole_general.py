"""Settings of general models, RecBole's own and RatingMF, and those of a run that some of them do not read.

RecBole's YAML files name those that a model reads. A key that its sequential models have, too, is described here only
where general models accept other values.
"""

from typing import Annotated, Literal

from annotated_types import Ge, Le

from recbole_genrec.config.arguments.base import Settings, group
from recbole_genrec.config.arguments.types import Above0, AtLeast0, Count, Flag, Form, Positive, Ratio, Text

Numbers = Annotated[list[AtLeast0], Form("a list of numbers of at least 0")]
Widths = Annotated[list[Positive], Form("a list of whole numbers of at least 1")]
Activation = Literal["sigmoid", "relu", "tanh"]
File = Annotated[str | None, Form("the path of a checkpoint, or empty")]

#: settings of a run that concern histories, or batches of them: no general model reads them.
OF_HISTORIES = frozenset(("MAX_ITEM_LIST_LENGTH", "transform"))
#: models that compute what they know at once: RecBole gives them one epoch, without an optimizer's step.
COMPUTED = frozenset("ADMMSLIM AsymKNN EASE ItemKNN Pop Random SLIMElastic".split())
#: settings of an optimizer, and of epochs.
OF_OPTIMIZERS = frozenset(
    ("epochs", "learner", "learning_rate", "weight_decay", "stopping_step", "clip_grad_norm", "enable_amp")
    + ("enable_scaler", "require_pow")
)
#: models that train on users' whole rows, or compute: they read no negative samples.
UNSAMPLED = COMPUTED | frozenset(
    "CDAE DiffRec ENMF LDiffRec MacridVAE MultiDAE MultiVAE NCEPLRec RaCT RatingMF RecVAE".split()
)
#: settings of rankings: a model of ratings has metrics of its own.
OF_RANKINGS = frozenset(("metrics", "topk", "valid_metric", "valid_metric_bigger", "repeatable", "LABEL_FIELD"))


def unread_by(names) -> frozenset[str]:
    """Settings of a run that a general model does not read, by its name and those of its parents."""
    unread = OF_HISTORIES
    if UNSAMPLED.intersection(names):
        unread |= {"train_neg_sample_args"}
    if "RatingMF" in names:
        unread |= OF_RANKINGS
    return unread | OF_OPTIMIZERS if COMPUTED.intersection(names) else unread


@group
class RecBoleGeneralSettings(Settings):
    """Settings of general models."""

    rating_model: Literal["mf", "mlp"] = "mf"
    """RatingMF: biases and a product of vectors, or a perceptron over the two vectors."""
    loss_type: Literal["BCE", "MSE"] = "BCE"
    """CDAE: binary cross-entropy, or squared error."""
    train_stage: Literal["actor_pretrain", "critic_pretrain", "finetune"] = "actor_pretrain"
    """RaCT: stage of training."""
    k: Positive = 100
    """Neighbours of an item or a user; of ADMMSLIM, iterations."""
    knn_method: Literal["item", "user"] = "item"
    """Similarity between items, or between users."""
    shrink: AtLeast0 = 0.0
    """Constant added to the norms of a cosine."""
    q: AtLeast0 = 1.0
    """Exponent of the locality of the scores."""
    beta: AtLeast0 = 1.0
    """Weight or exponent that the model's paper calls beta."""
    lambda1: AtLeast0 = 3.0
    """Weight of the L1 norm."""
    lambda2: AtLeast0 = 200.0
    """Weight of the L2 norm."""
    rho: Above0 = 4000.0
    """Penalty of the difference between primal variables."""
    l1_ratio: Ratio = 0.02
    """Share of the L1 norm in the regularisation."""
    positive_only: Flag = True
    """Keep positive weights alone."""
    center_columns: Flag = False
    """Subtract the mean of each column."""
    hide_item: Flag = True
    """Leave an item out of its own regression."""
    rank: Positive = 450
    """Width of the latent vectors."""
    hid_activation: Activation = "relu"
    """Activation of the hidden layer."""
    out_activation: Literal["sigmoid", "relu"] = "sigmoid"
    """Activation of the output layer."""
    corruption_ratio: Ratio = 0.5
    """Share of the input that is left out."""
    reg_weight_1: AtLeast0 = 0.0
    """Weight of the L1 norm."""
    reg_weight_2: AtLeast0 = 0.01
    """Weight of the L2 norm."""
    reg_weights: Numbers = (0.01, 0.01)
    """Weights of the regularisation of each part."""
    cor_weight: AtLeast0 = 0.01
    """Weight of the distance correlation between factors."""
    negative_weight: AtLeast0 = 10
    """Weight of what was not observed, or of the negative samples."""
    n_factors: Positive = 4
    """Number of latent factors."""
    n_iterations: Positive = 2
    """Iterations of the routing."""
    cnn_channels: Widths = (1, 32, 32, 32, 32)
    """Channels of the convolutions."""
    cnn_kernels: Widths = (4, 4, 2, 2)
    """Widths of the convolutions."""
    cnn_strides: Widths = (4, 4, 2, 2)
    """Strides of the convolutions."""
    train_method: Text = "no_pretrain"
    """ConvNCF: ``after_pretrain`` begins with the vectors of ``pre_model_path``."""
    pretrain_path: File = None
    """NAIS: a checkpoint of FISM to begin with."""
    use_pretrain: Flag = False
    """NeuMF: begin with two checkpoints."""
    mf_pretrain_path: File = None
    """NeuMF: checkpoint of the matrix factorisation."""
    mlp_pretrain_path: File = None
    """NeuMF: checkpoint of the perceptron."""
    mf_train: Flag = True
    """NeuMF: train the matrix factorisation."""
    mlp_train: Flag = True
    """NeuMF: train the perceptron."""
    mf_embedding_size: Positive = 64
    """NeuMF: width of the vectors of the matrix factorisation."""
    mlp_embedding_size: Positive = 64
    """NeuMF: width of the vectors of the perceptron."""
    inter_matrix_type: Literal["01", "rating"] = "01"
    """DMF: what its matrix holds."""
    user_embedding_size: Positive = 64
    """Width of the users' vectors."""
    item_embedding_size: Positive = 64
    """Width of the items' vectors."""
    user_hidden_size_list: Widths = (64, 64)
    """Widths of the layers over users."""
    item_hidden_size_list: Widths = (64, 64)
    """Widths of the layers over items."""
    hidden_size_list: Widths = (64, 64, 64)
    """Widths of the graph layers."""
    split_to: Count = 0
    """Pieces in which items are scored, to save memory. 0: one."""
    accum: Literal["sum", "stack"] = "stack"
    """GCMC: how the layers of each rating are put together."""
    gcn_output_dim: Positive = 500
    """GCMC: width of the graph layers."""
    sparse_feature: Flag = True
    """GCMC: features as sparse tensors."""
    class_num: Positive = 2
    """GCMC: number of ratings."""
    num_basis_functions: Positive = 2
    """GCMC: basis functions of the decoder."""
    order: Annotated[int, Ge(1), Le(2)] = 2
    """LINE: order of the proximity."""
    second_order_loss_weight: AtLeast0 = 1.0
    """LINE: weight of the second order."""
    encoder_hidden_size: Widths = (600,)
    """Widths of the encoder."""
    kfac: Positive = 10
    """MacridVAE: number of concepts."""
    nogb: Flag = False
    """MacridVAE: no Gumbel softmax."""
    std: Above0 = 0.01
    """MacridVAE: standard deviation of the prior."""
    anneal_cap: AtLeast0 = 0.2
    """Largest weight of the divergence from the prior."""
    total_anneal_steps: Count = 200_000
    """Steps until that weight is reached."""
    anneal_steps: Count = 1_000
    """LDiffRec: steps until the weight of the diffusion is reached."""
    vae_anneal_cap: AtLeast0 = 0.3
    """LDiffRec: largest weight of the autoencoder."""
    vae_anneal_steps: Count = 200
    """LDiffRec: steps until that weight is reached."""
    latent_dimension: Positive = 64
    """Width of the latent vector of a user."""
    hidden_dimension: Positive = 600
    """Width of the layers."""
    mixture_weights: Annotated[list[Ratio], Form("a list of numbers from 0 to 1")] = (0.15, 0.75, 0.1)
    """RecVAE: weights of the priors."""
    n_enc_epochs: Positive = 3
    """RecVAE: passes of the encoder in an epoch."""
    n_dec_epochs: Positive = 1
    """RecVAE: passes of the decoder in an epoch."""
    critic_layers: Widths = (100, 100, 10)
    """RaCT: widths of the critic."""
    metrics_k: Positive = 100
    """RaCT: length of the list that the critic is trained on."""
    weight_size: Positive = 64
    """NAIS: width of the attention."""
    algorithm: Literal["prod", "concat"] = "prod"
    """NAIS: kind of attention."""
    ssl_temp: Above0 = 0.1
    """Temperature of the contrastive loss."""
    ssl_tau: Above0 = 0.5
    """Temperature of the contrastive loss."""
    ssl_reg: AtLeast0 = 1e-7
    """Weight of the contrastive loss."""
    ssl_weight: AtLeast0 = 0.05
    """Weight of the contrastive loss."""
    hyper_layers: Positive = 1
    """NCL: distance of structural neighbours, in pairs of layers."""
    proto_reg: AtLeast0 = 8e-8
    """NCL: weight of the loss of prototypes."""
    num_clusters: Positive = 1000
    """NCL: number of prototypes."""
    m_step: Positive = 1
    """NCL: epochs between two clusterings."""
    warm_up_step: Count = 20
    """NCL: epochs without the loss of prototypes."""
    type: Literal["ED", "ND", "RW"] = "ED"
    """SGL: how views are drawn: without edges, without nodes, or by a random walk."""
    drop_ratio: Ratio = 0.1
    """Share of the graph that a view leaves out."""
    node_dropout: Ratio = 0.0
    """Dropout on edges of the graph."""
    message_dropout: Ratio = 0.1
    """Dropout on the messages of the graph."""
    ui_embedding_size: Positive = 64
    """NNCF: width of the vectors of users and items."""
    neigh_embedding_size: Positive = 32
    """NNCF: width of the vectors of neighbours."""
    num_conv_kernel: Positive = 128
    """NNCF: number of convolutions."""
    conv_kernel_size: Positive = 5
    """NNCF: width of the convolutions."""
    pool_kernel_size: Positive = 5
    """NNCF: width of the pooling."""
    neigh_num: Positive = 20
    """NNCF: neighbours of a user or an item."""
    neigh_info_method: Literal["random", "knn", "louvain"] = "random"
    """NNCF: how neighbours are chosen."""
    resolution: Above0 = 1
    """NNCF: resolution of the communities."""
    dropout: Ratio = 0.5
    """Dropout."""
    margin: Annotated[float, Ge(-1), Le(1)] = 0.5
    """SimpleX: similarity up to which a negative sample costs nothing."""
    aggregator: Literal["mean", "user_attention", "self_attention"] = "mean"
    """SimpleX: how a user's items are put together."""
    history_len: Positive = 50
    """SimpleX: items of a user at most."""
    noise_schedule: Literal["linear", "linear-var", "cosine", "binomial"] = "linear"
    """Schedule of the noise."""
    noise_scale: AtLeast0 = 0.001
    """Scale of the noise."""
    noise_min: AtLeast0 = 0.0005
    """Least noise."""
    noise_max: AtLeast0 = 0.005
    """Most noise."""
    sampling_noise: Flag = False
    """Add noise when items are scored."""
    sampling_steps: Count = 0
    """Steps of noise before items are scored."""
    reweight: Flag = True
    """Weigh the steps of the diffusion."""
    mean_type: Literal["x0", "eps"] = "x0"
    """What the network predicts: the data, or the noise."""
    steps: Positive = 5
    """Steps of the diffusion."""
    history_num_per_term: Positive = 10
    """Losses of each step that its weight is computed of."""
    beta_fixed: Flag = True
    """Keep the variance of the first step fixed."""
    norm: Flag = False
    """Scale the input to length 1."""
    dims_dnn: Widths = (300,)
    """Widths of the network."""
    in_dims: Widths = (300,)
    """LDiffRec: widths of the encoder."""
    out_dims: Widths = ()
    """LDiffRec: widths of the decoder."""
    mlp_act_func: Text = "tanh"
    """Activation of the network."""
    ae_act_func: Text = "tanh"
    """LDiffRec: activation of the autoencoder."""
    n_cate: Positive = 1
    """LDiffRec: clusters of items."""
    reparam: Flag = True
    """LDiffRec: draw the latent vectors."""
    lamda: AtLeast0 = 0.03
    """LDiffRec: weight of the autoencoder's loss."""
    w_max: AtLeast0 = 1
    """Largest weight of an interaction by its time."""
    w_min: AtLeast0 = 0.1
    """Smallest weight of an interaction by its time."""

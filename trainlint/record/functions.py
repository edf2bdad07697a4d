"""Names of torch's functions, by what the tape does with their calls."""

from __future__ import annotations

__all__ = ["CONVERSIONS", "DERIVATIVE", "LOSS_FUNCTIONS", "NOT_RECORDED", "RANDOM", "READS"]

#: Loss functions of torch.nn.functional whose arguments are kept for the loss measurement.
LOSS_FUNCTIONS = frozenset({
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cosine_embedding_loss", "cross_entropy", "ctc_loss", "gaussian_nll_loss",
    "hinge_embedding_loss", "huber_loss", "kl_div", "l1_loss", "margin_ranking_loss", "mse_loss", "multi_margin_loss",
    "multilabel_margin_loss", "multilabel_soft_margin_loss", "nll_loss", "poisson_nll_loss", "smooth_l1_loss", "soft_margin_loss",
    "triplet_margin_loss", "triplet_margin_with_distance_loss",
})  # fmt: skip


#: Functions that draw random numbers from the default generators.
RANDOM = frozenset({
    "alpha_dropout", "bernoulli", "bernoulli_", "cauchy_", "dropout", "dropout1d", "dropout2d", "dropout3d", "dropout_", "exponential_",
    "feature_alpha_dropout", "geometric_", "gumbel_softmax", "log_normal_", "lstm", "gru", "rnn_tanh", "rnn_relu", "multinomial",
    "multi_head_attention_forward", "normal", "normal_", "poisson", "rand", "rand_like", "randint", "randint_like", "randn", "randn_like",
    "random_", "randperm", "rrelu", "rrelu_", "scaled_dot_product_attention", "trunc_normal_", "uniform_", "apply",
})  # fmt: skip


#: Calls that take values out of the tensor world: what they return is fixed in the tape.
READS = frozenset({"item", "tolist", "numpy", "__bool__", "__int__", "__float__", "__index__", "__array__", "__format__"})


NOT_RECORDED = frozenset({
    "backward", "register_hook", "retain_grad", "register_post_accumulate_grad_hook", "grad", "__repr__", "__reduce_ex__", "requires_grad",
    "is_pinned", "share_memory_",
})  # fmt: skip


#: Conversions that hand back the very tensor that they were given when it is already what was asked for.
CONVERSIONS = frozenset({
    "bfloat16", "bool", "contiguous", "cpu", "cuda", "double", "float", "half", "int", "long", "to", "type", "type_as",
})  # fmt: skip


#: What ``torch.autograd.grad(..., create_graph=True)`` is called on a tape: a derivative that the loss is made of.
DERIVATIVE = "autograd.grad"

"""step_llm: the Transformer's components on MindSpore, and a translator built from them.

A reader who knows the paper finds each of its boxes under its own name: ``attention``, ``masks``,
``positions``, ``layers``, ``transformer``; then ``vocabulary``, ``data``, ``loss``, ``schedule``,
``training``, ``checkpoint``; then ``search``, ``translator``, ``metrics``. What came before it:
``ngram``, ``neural_lm``, ``recurrent``. What grew out of it: ``gpt``, ``bert``, ``vit``, with
``objectives``, ``language_training``, ``sampling``, and ``pretrained`` for published weights.
"""

from importlib import import_module

__version__ = "0.1.0"

# Module by module, what ``from step_llm import …`` offers. They are imported when first asked for,
# because MindSpore takes seconds to import and ``python -m step_llm --help`` does not need it.
_EXPORTS = {
    "_runtime": ("graph_mode",),
    "activations": ("ACTIVATIONS", "gelu", "gelu_tanh"),
    "architectures": ("ARCHITECTURES", "architecture_of"),
    "attention": ("AdditiveAttention", "MultiHeadAttention", "scaled_dot_product_attention"),
    "bert": (
        "Bert", "BertConfig", "BertForClassification", "BertForMaskedLM", "BertForPreTraining",
        "mask_tokens", "masked_batch", "next_sentence_pairs", "pair_arrays",
    ),
    "checkpoint": ("load_model",),
    "config": ("PRESETS", "TransformerConfig"),
    "data": (
        "ArrayBatches", "Batches", "ParallelText", "TextBatches", "corpus_folder", "encode_pairs",
        "encode_texts", "read_parallel",
    ),
    "device": ("use_device",),
    "gpt": ("GPT", "GPTConfig"),
    "language_training": ("LanguageTrainer",),
    "layers": (
        "DecoderLayer", "EncoderLayer", "FeedForward", "LayerNorm", "Residual", "layer_norm",
    ),
    "loss": ("label_smoothed_cross_entropy",),
    "masks": ("causal_mask", "combine_masks", "padding_mask"),
    "metrics": ("Scores", "perplexity", "score"),
    "neural_lm": ("NeuralLM", "NeuralLMConfig", "nearest_tokens"),
    "ngram": ("AddK", "KneserNey"),
    "objectives": ("class_objective", "pretraining_objective", "token_objective"),
    "plots": ("plot_attention", "plot_history"),
    "positions": (
        "LearnedPositions", "SinusoidalPositions", "apply_rotary", "rotary_tables",
        "sinusoidal_encoding",
    ),
    "pretrained": ("from_pretrained", "tokenizer_from_pretrained"),
    "recipes": ("recipe_for",),
    "recurrent": ("RecurrentConfig", "RecurrentTranslator"),
    "sampling": (
        "CachedGPT", "PlainGPT", "PrefixModel", "Sampling", "generate", "next_token_probabilities",
    ),
    "schedule": ("warmup_learning_rate",),
    "search": (
        "CachedDecoder", "PlainDecoder", "RecurrentDecoder", "beam_search", "greedy_search",
    ),
    "training": ("TrainStep", "Trainer", "TrainingConfig"),
    "transformer": ("Decoder", "Embedding", "Encoder", "Transformer", "initialise"),
    "translator": ("Translator",),
    "vit": ("PatchEmbedding", "ViT", "ViTConfig"),
    "vocabulary": ("Tokenizer", "TokenizerPair", "normalise", "train_tokenizers"),
}  # fmt: skip
_MODULE_OF = {name: module for module, names in _EXPORTS.items() for name in names}

__all__ = sorted(_MODULE_OF)


def __getattr__(name):
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'step_llm' has no attribute {name!r}")
    return getattr(import_module(f"step_llm.{_MODULE_OF[name]}"), name)


def __dir__():
    return [*globals(), *__all__]

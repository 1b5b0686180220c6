"""step_llm: the Transformer's components on MindSpore, and a translator built from them.

A room for each part of the field; each may import only from those above it:

    runtime     the device, graph mode, the OpenI platform
    nn          the boxes of the paper, one page each
    models      the Transformer; recurrent and n-gram models before it; GPT, BERT, ViT, Llama after
    data        vocabulary, corpus, batches
    evaluation  scores and pictures
    decoding    search, sampling, translation
    training    loss, schedule, the update, the loop, checkpoints
    course      what the lessons use: checks of the exercises
    cli         the command line
"""

from importlib import import_module

__version__ = "1.0.0"

# Module by module, what ``from step_llm import …`` offers. They are imported when first asked for,
# because MindSpore takes seconds to import and ``python -m step_llm --help`` does not need it.
_EXPORTS = {
    "nn.activations": ("ACTIVATIONS", "gelu", "gelu_tanh", "silu"),
    "nn.additive_attention": ("AdditiveAttention",),
    "nn.attention": ("MultiHeadAttention", "scaled_dot_product_attention"),
    "nn.decoder": ("Decoder", "DecoderLayer"),
    "nn.embedding": ("Embedding",),
    "nn.encoder": ("Encoder", "EncoderLayer"),
    "nn.feed_forward": ("FeedForward",),
    "nn.initial": ("InitialWeights", "NormalWeights", "XavierWeights"),
    "nn.layer_norm": ("LayerNorm", "layer_norm"),
    "nn.linear": ("Linear", "linear"),
    "nn.lora": ("LoRA", "add_lora", "merge_lora"),
    "nn.masks": ("causal_mask", "combine_masks", "padding_mask"),
    "nn.positions": ("LearnedPositions", "SinusoidalPositions", "sinusoidal_encoding"),
    "nn.quantised": ("QuantisedLinear", "quantise", "weight_bytes"),
    "nn.residual": ("Residual",),
    "nn.rms_norm": ("RMSNorm", "rms_norm"),
    "nn.rotary": ("apply_rotary", "rotary_frequencies", "rotary_tables"),
    "nn.swiglu": ("SwiGLU",),
    "models.bert": (
        "Bert", "BertConfig", "BertForClassification", "BertForMaskedLM", "BertForPreTraining",
    ),
    "models.config": ("PRESETS", "TransformerConfig"),
    "models.decoder_lm": ("DecoderLM", "DecoderLMConfig"),
    "models.gpt": ("GPT", "GPTConfig"),
    "models.marian": ("Marian", "MarianConfig"),
    "models.neural_lm": ("NeuralLM", "NeuralLMConfig", "nearest_tokens"),
    "models.ngram": ("AddK", "KneserNey"),
    "models.pretrained": (
        "ChatTemplate", "chat_template_from_pretrained", "end_ids_from_pretrained",
        "from_pretrained", "tokenizer_from_pretrained",
    ),
    "models.recurrent": ("RecurrentConfig", "RecurrentTranslator"),
    "models.registry": ("ARCHITECTURES", "architecture_of"),
    "models.sentence": ("mean_pooling", "sentence_embeddings"),
    "models.transformer": ("Transformer",),
    "models.vit": ("PatchEmbedding", "ViT", "ViTConfig"),
    "data.answers": ("answer_arrays",),
    "data.arrays": ("ArrayBatches", "stream_arrays"),
    "data.batches": ("Batches", "encode_pairs", "encode_texts"),
    "data.corpus": ("ParallelText", "corpus_folder", "read_parallel"),
    "data.masking": ("mask_tokens", "masked_batch", "next_sentence_pairs", "pair_arrays"),
    "data.novels": ("read_novel",),
    "data.reviews": ("ReviewSentences", "read_reviews"),
    "data.vocabulary": ("Tokenizer", "TokenizerPair", "normalise", "train_tokenizers"),
    "training.checkpoint": ("load_model", "save_checkpoint"),
    "training.config": ("TrainingConfig",),
    "training.loss": ("label_smoothed_cross_entropy",),
    "training.measures": ("PERPLEXITY", "Measure", "greedy_bleu"),
    "training.objectives": ("class_objective", "pretraining_objective", "token_objective"),
    "training.preference": (
        "answer_log_probs", "dpo_loss", "dpo_objective", "sequence_log_probs",
    ),
    "training.recipes": ("recipe_for",),
    "training.schedule": ("warmup_learning_rate",),
    "training.step": ("TrainStep",),
    "training.trainer": ("Trainer",),
    "training.translation": ("translation_trainer",),
    "decoding.conversation": ("Conversation",),
    "decoding.decoders": ("CachedDecoder", "PlainDecoder", "RecurrentDecoder"),
    "decoding.export": ("export_ctranslate2",),
    "decoding.exported": ("ExportedTranslator",),
    "decoding.language": ("CachedGPT", "PlainGPT", "PrefixModel"),
    "decoding.mindir": ("MindIRDecoder", "export_mindir"),
    "decoding.sampling": ("Sampling", "generate", "generate_tokens", "next_token_probabilities"),
    "decoding.search": ("beam_search", "greedy_search"),
    "decoding.streaming": ("stream", "text_pieces"),
    "decoding.translator": ("Translator",),
    "evaluation.explorer": ("AttentionExplorer", "AttentionMap"),
    "evaluation.long_text": ("loss_by_position", "text_losses", "text_perplexity"),
    "evaluation.metrics": ("Scores", "perplexity", "score"),
    "evaluation.plots": ("plot_attention", "plot_heads", "plot_history"),
    "runtime.device": ("use_device",),
    "runtime.graph_mode": ("graph_mode",),
}  # fmt: skip
_MODULE_OF = {name: module for module, names in _EXPORTS.items() for name in names}
# Modules that lessons take whole.
_MODULES = {"exercises": "course.checks"}

__all__ = sorted([*_MODULE_OF, *_MODULES])


def __getattr__(name):
    if name in _MODULES:
        return import_module(f"step_llm.{_MODULES[name]}")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'step_llm' has no attribute {name!r}")
    return getattr(import_module(f"step_llm.{_MODULE_OF[name]}"), name)


def __dir__():
    return [*globals(), *__all__]

"""``train``: a new run, from the options and the corpus's recipe."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from step_llm.cli.job import Job, begin, carry_out, full_name, read_texts, seed_dropout
from step_llm.cli.resume import refuse_changes, stored_job
from step_llm.data.buckets import fewer
from step_llm.data.vocabulary import train_tokenizers
from step_llm.models.config import TransformerConfig
from step_llm.models.recurrent import CELLS, RecurrentConfig, RecurrentTranslator
from step_llm.models.transformer import Transformer
from step_llm.runtime.device import current_device
from step_llm.training.config import TrainingConfig
from step_llm.training.recipes import RECIPES, recipe_for
from step_llm.training.run_folder import read_run

__all__ = ["run"]

TRANSLATORS = ("transformer", *CELLS)


def run(options):
    group, say = begin(options.device)
    out = Path(options.out)
    if "last" in read_run(out):
        if not options.resume:
            raise ValueError(
                f"{out} already holds a training run; go on with it by `python -m step_llm resume "
                f"{out}`, or choose another --out"
            )
        refuse_changes(options, out)
        job = stored_job(out, options.epochs, options.corpus)
    else:
        if options.resume:
            say(f"{out} has no checkpoint yet: training starts from the beginning")
        job = _new_job(options)
    carry_out(job, out, group, say, options.task)


def _new_job(options):
    recipe = _recipe(options)
    names = [field.name for field in dataclasses.fields(TrainingConfig)]
    config = TrainingConfig(**{**recipe.training, **_given(options, names)})
    shapes = options.shapes
    if shapes is None and current_device() != "CPU":
        shapes = 4  # there a graph takes longer to compile, and padding costs less
    if shapes is not None:
        config = dataclasses.replace(config, buckets=fewer(config.buckets, shapes))
    notes = {
        "corpus": full_name(options.corpus),
        "source": options.source or "de",
        "target": options.target or "en",
        "preset": options.preset or recipe.preset,
        "tokens": options.tokens or recipe.tokens,
        "vocab_size": recipe.vocab_size if options.vocab_size is None else options.vocab_size,
        **_given(options, ("recipe", "shapes")),
    }
    text, validation_text = read_texts(notes)
    tokenizers = train_tokenizers(
        text.source, text.target, kind=notes["tokens"], vocab_size=notes["vocab_size"]
    )
    sizes = (notes["preset"], len(tokenizers.source), len(tokenizers.target))
    seed_dropout(config.seed)
    model = _new_model(options, recipe.model, sizes, config.seed)
    return Job(model, tokenizers, config, text, validation_text, notes)


def _recipe(options):
    if options.recipe is None:
        return recipe_for(options.corpus)
    if options.recipe not in RECIPES:
        raise ValueError(f"--recipe is {options.recipe!r}; expected one of {', '.join(RECIPES)}")
    return RECIPES[options.recipe]


def _new_model(options, recipe, sizes, seed):
    arch = options.arch or "transformer"
    if arch not in TRANSLATORS:
        raise ValueError(f"--arch is {arch!r}; expected one of {', '.join(TRANSLATORS)}")
    is_recurrent = arch != "transformer"
    for name in ("positions", "norm") if is_recurrent else ("attention",):
        if getattr(options, name) is not None:
            raise ValueError(f"--{name} has no meaning with --arch {arch}; leave the option out")
    fields = {
        "tied_embeddings": "all",
        **recipe,
        **_given(options, ("positions", "norm", "dropout")),
    }
    if not is_recurrent:
        return Transformer(TransformerConfig.preset(*sizes, **fields), seed=seed)
    for name in ("norm", "positions"):  # the recipe's
        fields.pop(name, None)
    fields.update(cell=arch, has_attention=options.attention is not False)
    return RecurrentTranslator(RecurrentConfig.preset(*sizes, **fields), seed=seed)


def _given(options, names):
    """Those of the options that the user gave."""
    values = {name: getattr(options, name, None) for name in names}
    return {name: value for name, value in values.items() if value is not None}

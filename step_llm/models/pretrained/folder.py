"""Reading a folder in Hugging Face's layout: first what it says, then what it holds, then weights.

Nothing is built before config.json's fields are known to be right and every tensor that they ask
for is known to be in the file, in its shape.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mindspore import Tensor, nn

from step_llm.models.pretrained.families import FAMILIES
from step_llm.models.pretrained.family import Family
from step_llm.models.pretrained.fields import checked_fields, read_fields, shown, text, texts
from step_llm.models.pretrained.weight_files import find_tensors
from step_llm.models.weights import CheckpointError, check_memory, match_tensors, read_json

__all__ = ["Description", "from_pretrained", "read_description"]

# What stands in every config.json, whatever the family.
_COMMON = {"model_type": text(), "architectures": texts(), "tokenizer_class": text()}


class Description(NamedTuple):
    """What config.json says of a folder.

    Args:
        path: of config.json.
        family: of the model.
        classes: the classes of transformers that it names.
        tokenizer_class: the one that it names, or None.
        fields: all that it says, not yet checked.
    """

    path: Path
    family: Family
    classes: tuple
    tokenizer_class: str | None
    fields: dict

    def read(self, table: dict) -> dict:
        """The values of some fields; see ``read_fields``.

        Raises:
            CheckpointError: a field that is missing, of another type or out of range.
        """
        return checked_fields(self.path, self.fields, table)


def from_pretrained(folder: str | Path) -> nn.Cell:
    """Read a GPT-2, BERT, DistilBERT, ViT, Llama, Qwen or Marian from a Hugging Face folder.

    Args:
        folder: holds ``config.json``, and ``model.safetensors`` or several such files with
            ``model.safetensors.index.json``; their numbers are float32, float16 or bfloat16.

    Returns:
        the model in float32, with dropout off: a ``GPT`` for GPT2LMHeadModel and GPT2Model; for
        BertModel a ``Bert``, else with the heads that config.json names or that the file holds
        ``BertForPreTraining``, ``BertForMaskedLM`` or ``BertForClassification``; for
        DistilBertModel and DistilBertForMaskedLM the same without segments and pooler; a ``ViT``
        for ViTForImageClassification; a ``DecoderLM`` for LlamaForCausalLM, Qwen2ForCausalLM and
        Qwen3ForCausalLM; a ``Marian``, which any search and ``Translator`` take, for MarianMTModel.
        The ``pad_id`` is config.json's "pad_token_id"; −1, which no token has, where it names none.

    Raises:
        CheckpointError: a file that is missing or damaged, weights as a pickle only (which would
            run whatever code it holds), an index that names files elsewhere, another architecture,
            a field of config.json that is missing, of another type or out of range, a setting that
            this library has not, or tensors that are missing, unexpected or of another shape, every
            one named; or more weights than there is memory for.

    Source of the layouts: github.com/huggingface/transformers, ``modeling_gpt2.py``,
    ``modeling_bert.py``, ``modeling_vit.py``, ``modeling_llama.py``, ``modeling_qwen2.py``,
    ``modeling_qwen3.py``, ``modeling_distilbert.py``, ``modeling_marian.py``.
    """
    folder = Path(folder)
    description = read_description(folder)
    family = description.family
    fields = description.read(family.fields)
    path, found = find_tensors(folder)
    stored = _present_names(path, found, family)
    for name, field in family.fields.items():
        if field.is_depth and fields[name] > len(stored):
            raise CheckpointError(
                f"{description.path}: {name} is {shown(fields[name])}, but {path.name} holds "
                f"{len(stored)} tensors, fewer than one for each layer"
            )
    prefix = family.prefix if any(name.startswith(family.prefix) for name in stored) else ""
    try:
        plan = family.plan(fields, prefix, tuple(stored), description.classes)
    except ValueError as error:
        raise CheckpointError(f"{description.path}: {error}") from error
    wanted = {source.name: source for source in plan.sources.values()}
    copies = _copies(stored, family, wanted)
    found = {name: tensor for name, tensor in stored.items() if name not in copies}
    if not set(wanted) & set(found):
        raise CheckpointError(
            f"{path} holds no tensor of a {description.fields['model_type']} model, but for "
            f"example {min(found, default='none at all')}; expected the weights that belong to "
            "config.json"
        )
    match_tensors(path, found, wanted, shown=None)
    for tensor in stored.values():
        tensor.check_type()
    sizes = [math.prod(source.shape) for source in wanted.values()]
    check_memory(path, sum(sizes) + max(sizes))  # one tensor of the file beside the model
    _check_copies(path, stored, copies)
    model = plan.make()
    weights = dict(model.parameters_and_names())
    for name, source in plan.sources.items():
        parameter = weights[name]
        value = source.value(stored[source.name].read(), tuple(parameter.shape))
        parameter.set_data(Tensor(value))
    model.set_train(False)
    return model


def read_description(folder: Path) -> Description:
    """What a folder's config.json says, and which family that is.

    Raises:
        CheckpointError: no such folder or file, a damaged one, or another architecture.
    """
    if not folder.is_dir():
        raise CheckpointError(f"there is no folder {folder}")
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{folder} holds no config.json; expected a folder of transformers")
    try:
        fields = read_json(path)
        common = read_fields(fields, _COMMON)
    # Lists in lists in lists … end in a RecursionError.
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    model_type = common["model_type"]
    if model_type not in FAMILIES:
        raise CheckpointError(
            f"{path} describes a model of type {shown(model_type)}; expected one of "
            f"{', '.join(FAMILIES)}"
        )
    family = FAMILIES[model_type]
    classes = tuple(common["architectures"] or ())
    for name in classes:
        if name not in family.classes:
            raise CheckpointError(
                f"{path} describes a {name}; expected one of {', '.join(family.classes)}"
            )
    return Description(path, family, classes, common["tokenizer_class"], fields)


def _present_names(path, found, family):
    """The tensors by their present names, without buffers."""
    stored = {}
    for old, tensor in found.items():
        name = old
        for pattern, new in family.old_names.items():
            name = re.sub(pattern, new, name)
        if re.search(family.ignored, name):
            continue
        if name in stored:
            raise CheckpointError(
                f"{path} holds both {stored[name].name} and {old}; expected one of them"
            )
        stored[name] = tensor
    return stored


def _copies(stored, family, wanted):
    """Those tensors that are there a second time, each with its original."""
    copies = {}
    for copy, ending in family.copies.items():
        original = next((name for name in stored if name.endswith(ending)), None)
        if copy in stored and copy not in wanted and original is not None:
            copies[copy] = original
    return copies


def _check_copies(path, stored, copies):
    for copy, original in copies.items():
        if not np.array_equal(stored[copy].read(), stored[original].read()):
            raise CheckpointError(
                f"{path}: {copy} differs from {original}; only models that tie them are supported"
            )

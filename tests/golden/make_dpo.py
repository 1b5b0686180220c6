"""Golden values of direct preference optimisation: what TRL computes.

    python tests/golden/make_dpo.py            write dpo.npz under preference/
    python tests/golden/make_dpo.py --check    compute them again and compare

Made with trl==1.16.0, torch==2.13.0 and transformers 5 on the CPU; `tests/test_preference.py`
compares the library with the file. The model is the golden folder huggingface/llama; its reference
is the same with other weights. The loss is that of TRL's `DPOTrainer`, whose method is called
without what a training needs besides (data, optimizer, devices).

The file holds prompts, chosen and rejected answers (padded with −1), for each β the loss and the
gradient of each weight, under the name in huggingface/llama, and the reference's weights.
"""

from __future__ import annotations

import collections
import sys
from pathlib import Path
from types import SimpleNamespace

import command
import numpy as np
import torch
import transformers
from trl import DPOTrainer
from trl.trainer.utils import add_fused_lm_head

HERE = Path(__file__).resolve().parent
FOLDER = HERE / "preference"
TOLERANCE = 3e-6  # as in make_golden.py
BETAS = (0.1, 2.0)
PAD = -1
# Lengths of prompts, of chosen and of rejected answers.
PROMPTS, CHOSEN, REJECTED = (3, 6, 1), (2, 1, 5), (4, 3, 1)


def texts(rng, vocab_size):
    """Three arrays (3, longest), filled up with PAD."""
    arrays = []
    for lengths in (PROMPTS, CHOSEN, REJECTED):
        ids = np.full((len(lengths), max(lengths)), PAD)
        for row, length in zip(ids, lengths):
            row[:length] = rng.integers(1, vocab_size, length)
        arrays.append(ids)
    return arrays


def batch_of(prompts, chosen, rejected):
    """As TRL's collator: the chosen texts above the rejected ones, padded at the end."""
    longest = prompts.shape[1] + max(chosen.shape[1], rejected.shape[1])
    ids = np.zeros((2 * len(prompts), longest), np.int64)
    is_answer, is_text = np.zeros_like(ids), np.zeros_like(ids)
    rows = [*zip(prompts, chosen), *zip(prompts, rejected)]
    for row, (prompt, answer) in enumerate(rows):
        prompt, answer = prompt[prompt != PAD], answer[answer != PAD]
        end = len(prompt) + len(answer)
        ids[row, :end] = [*prompt, *answer]
        is_answer[row, len(prompt) : end] = is_text[row, :end] = 1
    names = ("input_ids", "completion_mask", "attention_mask")
    return {name: torch.from_numpy(a) for name, a in zip(names, (ids, is_answer, is_text))}


def trainer_of(model, reference, beta):
    """A `DPOTrainer` with what its loss reads, and no more."""
    trainer = object.__new__(DPOTrainer)
    alone = SimpleNamespace(
        device=torch.device("cpu"), gather=lambda x: x, gather_for_metrics=lambda x: x
    )
    arguments = SimpleNamespace(gradient_checkpointing_kwargs=None)
    values = {
        "model": model, "ref_model": reference, "accelerator": alone, "args": arguments,
        "beta": beta, "loss_types": ["sigmoid"], "loss_weights": [1.0], "label_smoothing": 0.0,
        "f_divergence_type": "reverse_kl", "ld_alpha": None, "use_weighting": False,
        "precompute_ref_logps": False, "aux_loss_enabled": False, "_total_train_tokens": 0,
        "_tp_size": 1,
        "_metrics": {mode: collections.defaultdict(list) for mode in ("train", "eval")},
    }  # fmt: skip
    vars(trainer).update(values)
    return trainer


def llama(reference=None):
    model = transformers.LlamaForCausalLM.from_pretrained(HERE / "huggingface" / "llama")
    model = model.double().eval()  # so that the values are the formula's on every processor
    if reference is not None:
        with torch.no_grad():
            for name, weight in model.named_parameters():
                weight.copy_(torch.from_numpy(reference[name]).double())
    add_fused_lm_head(model, outputs=("log_probs", "entropy", "mean_logits", "is_top1"))
    return model


def make():
    rng = np.random.default_rng(7)
    model = llama()
    weights = {name: w.detach().float().numpy() for name, w in model.named_parameters()}
    reference = {
        name: (w + rng.normal(0.0, 0.1, w.shape)).astype(np.float32) for name, w in weights.items()
    }
    names = ("prompts", "chosen", "rejected")
    arrays = dict(zip(names, texts(rng, model.config.vocab_size)))
    batch = batch_of(**arrays)
    arrays.update({f"reference.{name}": weight for name, weight in reference.items()})
    for beta in BETAS:
        trainer = trainer_of(model, llama(reference), beta)
        loss = trainer._compute_loss(model, dict(batch), return_outputs=False)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        arrays[f"output.loss.{beta}"] = loss.detach().float().numpy()
        for name, gradient in zip(weights, gradients):
            arrays[f"gradient.{beta}.{name}"] = gradient.float().numpy()
    for name in ("logps/chosen", "logps/rejected"):
        value = trainer._metrics["eval"][name][0]
        arrays[f"output.mean_{name.split('/')[1]}"] = np.float32(value)
    return arrays


def check(folder):
    """Compute the file again; returns the exit status, 1 at the first difference."""
    with np.load(folder / "dpo.npz") as file:
        stored = dict(file)
    made = make()
    if sorted(made) != sorted(stored):
        print(f"dpo.npz holds other arrays: {sorted(set(made) ^ set(stored))}")
        return 1
    for name, new in made.items():
        off = np.abs(new - stored[name]).max() / max(np.abs(stored[name]).max(), 1e-30)
        if not off <= (TOLERANCE if name.startswith(("output.", "gradient.")) else 0):
            print(f"dpo.npz: {name} is off by {off:.1e}")
            return 1
    print(f"DPO agrees with TRL's, torch {torch.__version__}, β {', '.join(map(str, BETAS))}")
    return 0


def write(folder):
    folder.mkdir(exist_ok=True)
    np.savez_compressed(folder / "dpo.npz", **make())
    print(f"dpo: {(folder / 'dpo.npz').stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(command.run("values of DPO", FOLDER, check, write))

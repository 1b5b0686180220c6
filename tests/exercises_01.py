"""Right and wrong answers to the exercises of lesson 01."""

from __future__ import annotations

import numpy as np


def perplexity(probabilities):
    logs = np.concatenate([np.log(sentence) for sentence in probabilities])
    return np.exp(-logs.mean())


def perplexity_by_sentence(probabilities):
    return np.exp(-np.mean([np.log(sentence).mean() for sentence in probabilities]))


def cross_entropy(probabilities):
    return -np.concatenate([np.log(sentence) for sentence in probabilities]).mean()


def inverse_of_the_mean(probabilities):
    return 1 / np.concatenate(probabilities).mean()


def add_k(counts, k):
    return (counts + k) / (counts.sum(axis=1, keepdims=True) + k * counts.shape[1])


def add_k_above_only(counts, k):
    return (counts + k) / (counts.sum(axis=1, keepdims=True) + k)


def add_k_by_column(counts, k):
    return (counts + k) / (counts.sum(axis=0) + k * len(counts))


def add_k_to_seen_alone(counts, k):
    with np.errstate(invalid="ignore"):
        return counts / counts.sum(axis=1, keepdims=True)


def kinds(counts):
    return (counts > 0).sum(axis=0) / (counts > 0).sum()


def shares(counts):
    return counts.sum(axis=0) / counts.sum()


def kinds_after(counts):
    return (counts > 0).sum(axis=1) / (counts > 0).sum()


def numbers_of_kinds(counts):
    return (counts > 0).sum(axis=0)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def gru_step(x, h, W_r, U_r, W_z, U_z, W_n, U_n):
    r, z = sigmoid(W_r @ x + U_r @ h), sigmoid(W_z @ x + U_z @ h)
    return (1 - z) * np.tanh(W_n @ x + r * (U_n @ h)) + z * h


def gru_step_turned_round(x, h, W_r, U_r, W_z, U_z, W_n, U_n):
    r, z = sigmoid(W_r @ x + U_r @ h), sigmoid(W_z @ x + U_z @ h)
    return z * np.tanh(W_n @ x + r * (U_n @ h)) + (1 - z) * h


def gru_step_with_an_early_gate(x, h, W_r, U_r, W_z, U_z, W_n, U_n):
    r, z = sigmoid(W_r @ x + U_r @ h), sigmoid(W_z @ x + U_z @ h)
    return (1 - z) * np.tanh(W_n @ x + U_n @ (r * h)) + z * h


def gru_step_without_sigmoid(x, h, W_r, U_r, W_z, U_z, W_n, U_n):
    r, z = np.tanh(W_r @ x + U_r @ h), np.tanh(W_z @ x + U_z @ h)
    return (1 - z) * np.tanh(W_n @ x + r * (U_n @ h)) + z * h


RIGHT = {
    "1.1": (perplexity,),
    "1.2": (add_k,),
    "1.3": (kinds,),
    "1.4": (gru_step,),
}
WRONG = {
    "1.1": [(perplexity_by_sentence,), (cross_entropy,), (inverse_of_the_mean,)],
    "1.2": [(add_k_above_only,), (add_k_by_column,), (add_k_to_seen_alone,)],
    "1.3": [(shares,), (kinds_after,), (numbers_of_kinds,)],
    "1.4": [(gru_step_turned_round,), (gru_step_with_an_early_gate,), (gru_step_without_sigmoid,)],
}

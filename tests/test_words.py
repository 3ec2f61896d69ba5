from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from promptctl.clip import kept
from promptctl.clip.backbone import Backbone
from promptctl.clip.vocabulary import METRICS, Vocabulary, nearest


@pytest.fixture(scope="module")
def backbone():
    return Backbone("mini")


@pytest.fixture(scope="module")
def tower(backbone):
    return backbone.tower


@pytest.fixture(scope="module", params=["loaded", "kept"])
def vocabulary(request, backbone, tmp_path_factory):
    if request.param == "loaded":
        return backbone.vocabulary
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROMPTCTL_HOME", str(tmp_path_factory.mktemp("home")))
        return kept.find(backbone.id.fingerprint).vocabulary()


def every(vocabulary: Vocabulary) -> np.ndarray:
    """All tokens but start- and end-of-text."""
    return np.arange(len(vocabulary.words)) < len(vocabulary.words) - 2


@pytest.mark.parametrize("metric", METRICS)
def test_a_words_own_embedding_finds_the_word(tower, vocabulary, metric):
    vectors = tower.embed("dog striped pizza").numpy()
    found = nearest(vectors, vocabulary, k=3, among=every(vocabulary))[metric]
    assert [near[0].word for near in found] == ["dog", "striped", "pizza"]
    assert all(near[0].euclidean == pytest.approx(0, abs=1e-4) for near in found)
    assert all(near[0].cosine == pytest.approx(1, abs=1e-4) for near in found)


def test_neighbours_are_those_of_the_plain_definitions(tower, vocabulary):
    vectors = np.random.default_rng(0).normal(0, 0.02, (3, 512)).astype(np.float32)
    table = tower.token_table.numpy().astype(np.float64)
    distance = np.stack([np.linalg.norm(vector - table, axis=-1) for vector in vectors.astype(np.float64)])
    cosine = (vectors @ table.T) / np.linalg.norm(vectors, axis=1)[:, None] / np.linalg.norm(table, axis=1)
    distance[:, -2:], cosine[:, -2:] = np.inf, -np.inf  # start- and end-of-text
    near = nearest(vectors, vocabulary, k=4, among=every(vocabulary))
    for metric, order in (("euclidean", distance), ("cosine", -cosine)):
        found = near[metric]
        expected = [[tower.word(int(t)) for t in np.argsort(row)[:4]] for row in order]
        assert [[w.word for w in row] for row in found] == expected


def test_many_vectors_are_taken_in_turns(vocabulary, monkeypatch):
    vectors = np.random.default_rng(0).normal(0, 0.02, (7, 512)).astype(np.float32)
    at_once = nearest(vectors, vocabulary, k=2, among=every(vocabulary))
    monkeypatch.setattr("promptctl.clip.vocabulary._ROWS", 3)
    monkeypatch.setattr("promptctl.clip.vocabulary._TOKENS", 1000)
    in_turns = nearest(vectors, vocabulary, k=2, among=every(vocabulary))
    for metric in METRICS:
        assert [[w.word for w in row] for row in in_turns[metric]] == [[w.word for w in row] for row in at_once[metric]]


def test_distances_and_cosines_are_pytorchs(tower, vocabulary):
    vectors = np.random.default_rng(1).normal(0, 0.02, (5, 512)).astype(np.float32)
    rows, table = torch.from_numpy(vectors), tower.token_table.float()
    distance = torch.cdist(rows, table, compute_mode="donot_use_mm_for_euclid_dist")
    cosine = F.normalize(rows, dim=-1) @ F.normalize(table, dim=-1).T
    numbered = dataclasses.replace(vocabulary, words=[str(token) for token in range(len(table))])  # some read alike
    for metric, found in nearest(vectors, numbered, k=50, among=every(numbered)).items():
        for row, words in enumerate(found):
            tokens = [int(near.word) for near in words]
            told = torch.tensor([[near.euclidean, near.cosine] for near in words])
            torch.testing.assert_close(told, torch.stack([distance, cosine], -1)[row, tokens], atol=2e-6, rtol=0)
            order = distance[row] if metric == "euclidean" else -cosine[row]
            nearer = (order < order[tokens].max() - 1e-6).nonzero().flatten().tolist()
            assert set(nearer) <= {*tokens, *tower.special_tokens}


def test_a_token_that_continues_into_the_next_is_marked(tower):
    whole, part = tower.tokens("dog")[0], tower._tokenizer._made.encoder["dog"]
    assert (tower.word(whole), tower.word(part)) == ("dog", "dog·")

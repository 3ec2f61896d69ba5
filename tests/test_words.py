from __future__ import annotations

import numpy as np
import pytest

from promptctl.clip.backbone import Backbone
from promptctl.clip.vocabulary import METRICS, nearest


@pytest.fixture(scope="module")
def tower():
    return Backbone("mini").tower


@pytest.mark.parametrize("metric", METRICS)
def test_a_words_own_embedding_finds_the_word(tower, metric):
    vectors = tower.embed("dog striped pizza").numpy()
    found = nearest(vectors, tower, k=3)[metric]
    assert [near[0].word for near in found] == ["dog", "striped", "pizza"]
    assert all(near[0].euclidean == pytest.approx(0, abs=1e-4) for near in found)
    assert all(near[0].cosine == pytest.approx(1, abs=1e-4) for near in found)


def test_neighbours_are_those_of_the_plain_definitions(tower):
    vectors = np.random.default_rng(0).normal(0, 0.02, (3, 512)).astype(np.float32)
    table = tower.token_table.numpy().astype(np.float64)
    distance = np.linalg.norm(vectors[:, None].astype(np.float64) - table, axis=-1)
    cosine = (vectors @ table.T) / np.linalg.norm(vectors, axis=1)[:, None] / np.linalg.norm(table, axis=1)
    distance[:, -2:], cosine[:, -2:] = np.inf, -np.inf  # start- and end-of-text
    for metric, order in (("euclidean", distance), ("cosine", -cosine)):
        found = nearest(vectors, tower, k=4)[metric]
        wanted = [[tower.word(int(t)) for t in np.argsort(row)[:4]] for row in order]
        assert [[w.word for w in row] for row in found] == wanted


def test_many_vectors_are_taken_in_turns(tower, monkeypatch):
    vectors = np.random.default_rng(0).normal(0, 0.02, (7, 512)).astype(np.float32)
    at_once = nearest(vectors, tower, k=2)
    monkeypatch.setattr("promptctl.clip.vocabulary._ROWS", 3)
    in_turns = nearest(vectors, tower, k=2)
    for metric in METRICS:
        assert [[w.word for w in row] for row in in_turns[metric]] == [[w.word for w in row] for row in at_once[metric]]


def test_a_token_that_continues_into_the_next_is_marked(tower):
    whole, part = tower.tokens("dog")[0], tower._tokenizer.encoder["dog"]
    assert (tower.word(whole), tower.word(part)) == ("dog", "dog·")

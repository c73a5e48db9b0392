"""Repetition, distinct-n and known words, against counts by hand."""

import pytest

from studies.text_measures import distinct, known_words, n_grams, repetition, words


def test_words_have_apostrophes_and_hyphens_inside_and_no_case() -> None:
    assert words("The People's self-rule, 1835;\nl’État -- 'tis") == ["the", "people's", "self-rule", "l’état", "tis"]


def test_n_grams_are_words_that_follow_each_other() -> None:
    assert n_grams("A b a, b.", 2) == [("a", "b"), ("b", "a"), ("a", "b")]
    assert n_grams("a b", 3) == []


def test_repetition_is_the_share_of_n_grams_seen_before_in_the_same_text() -> None:
    assert repetition(["a b a b a b"], 2) == pytest.approx(3 / 5)  # ab ba ab ba ab: two are new
    assert repetition(["a b a b a b", "a b c d"], 2) == pytest.approx(3 / 10), "the mean over texts"
    assert repetition(["the same people which the same people which the same"]) == pytest.approx(3 / 7)
    assert repetition(["a b c"]) == 0, "a text shorter than 4 words repeats nothing"


def test_distinct_counts_the_n_grams_of_all_texts_together() -> None:
    texts = ["a b a b", "a b c d"]  # ab ba ab, ab bc cd
    assert distinct(texts, 1) == pytest.approx(4 / 8)
    assert distinct(texts, 2) == pytest.approx(4 / 6), "a pair in two texts counts once; none crosses their border"
    assert distinct(["a"], 2) == 0


def test_known_words_leave_out_the_first_and_the_last_word_which_may_be_cut() -> None:
    texts = ["e peeple of the sta", "nited of stat"]
    assert known_words(texts, "The people of the United States") == pytest.approx(3 / 4)  # not "peeple"
    assert known_words(["sta"], "The States") == 0

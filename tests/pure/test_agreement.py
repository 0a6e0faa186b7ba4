"""Two implementations of the auction that share nothing, on many random books: every price and fill to the unit.

The third, the contract, joins in tests/contracts/test_against_reference_revm.py.
"""

import random
from collections import Counter

from tests.books import full_book, judged, random_book

SEED = 20_260_314
BOOKS = 10_000
SIZES = ("any", "extremes", "small", "round", "thirds")


def test_clear__ten_thousand_random_books__agrees_with_brute_force_to_the_unit():
    rng = random.Random(SEED)
    seen = Counter()
    for _ in range(BOOKS):
        seen += judged(random_book(rng, 6, rng.randint(2, 12)))
    assert seen["books"] == BOOKS
    # Of each kind enough to find what only it can show.
    assert min(seen["bids rationed"], seen["asks rationed"], seen["both sides whole"], seen["no trade"]) > 600, seen
    assert min(seen["price between two ticks"], seen["interval wider than a tick"]) >= 300, seen
    assert min(seen["smallest against largest"], seen["lowest and highest tick"], seen["dust"]) >= 300, seen


def test_clear__full_books_of_1023_ticks__agrees_with_brute_force_to_the_unit():
    rng = random.Random(SEED)
    seen = sum((judged(full_book(rng, size)) for size in SIZES for _ in range(3)), Counter())
    assert seen["all ticks of both sides"] == seen["books"] == 15

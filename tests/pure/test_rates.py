"""How much one sender may bring in a time: in any span, for each sender, and forgotten when it is over."""

import pytest

from busbar.rates import Rate


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self):
        self.now = 1_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_hit__sender_at_the_limit__refused_until_the_first_is_over(clock):
    rate = Rate("2/minute", clock)
    admitted = []
    for seconds in (0, 20, 39, 1, 19, 1):
        clock.now += seconds
        admitted.append(rate.hit("a"))
    assert admitted == [True, True, False, True, False, True]


def test_hit__refused__does_not_count(clock):
    rate = Rate("1/minute", clock)
    admitted = []
    for _ in range(4):
        admitted.append(rate.hit("a"))
        clock.now += 30
    assert admitted == [True, False, True, False]


def test_hit__another_sender__has_a_limit_of_its_own(clock):
    rate = Rate("1/minute", clock)
    assert [rate.hit(sender) for sender in "aabb"] == [True, False, True, False]


def test_hit__rate_of_nothing__admits_nobody(clock):
    rate = Rate("0/minute", clock)
    assert [rate.hit("a"), rate.hit("a")] == [False, False]


def test_wait_s__sender_at_the_limit__until_the_first_is_over(clock):
    rate = Rate("2/minute", clock)
    rate.hit("a")
    clock.now += 25
    before = rate.wait_s("a")
    rate.hit("a")
    assert (before, rate.wait_s("a"), rate.wait_s("b")) == (0, 35, 0)


def test_len__senders_who_came_no_more__forgotten(clock):
    rate = Rate("5/second", clock)
    for number in range(1_000):
        rate.hit(str(number))
    clock.now += 0.5
    rate.hit("0")
    clock.now += 0.75
    rate.hit("new")
    assert len(rate) == 2


def test_init__no_rate__refused():
    with pytest.raises(ValueError, match="couldn't parse rate limit string 'often'"):
        Rate("often")

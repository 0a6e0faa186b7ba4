"""What arrives together is taken together, and each is answered for itself."""

import asyncio

import pytest

from busbar import errors
from busbar.chain import ChainUnreachableError
from busbar.door import Groups


class Taker:
    """Notes the groups it is given; refuses what is negative."""

    def __init__(self, problem=None):
        self.groups, self.problem = [], problem

    def __call__(self, entries):
        self.groups.append(list(entries))
        if self.problem is not None:
            raise self.problem
        return [errors.BusbarError(f"{entry} is negative") if entry < 0 else str(entry) for entry in entries]


def test_take__many_at_once__share_a_call():
    taker = Taker()

    async def all_at_once():
        groups = Groups(taker, size=4)
        return await asyncio.gather(*(groups.take(n) for n in range(9)))

    assert asyncio.run(all_at_once()) == [str(n) for n in range(9)]
    assert sorted(entry for group in taker.groups for entry in group) == list(range(9))
    assert len(taker.groups) < 9
    assert max(map(len, taker.groups)) <= 4


def test_take_each__some_refused__answers_each_in_order():
    first, second, third = asyncio.run(Groups(Taker()).take_each([1, -2, 3]))
    assert (first, str(second), third) == ("1", "-2 is negative", "3")


def test_take__refused__raises_it():
    with pytest.raises(errors.BusbarError, match="-1 is negative"):
        asyncio.run(Groups(Taker()).take(-1))


@pytest.mark.parametrize("problem", [ChainUnreachableError("no node"), ZeroDivisionError()], ids=["node away", "a bug"])
def test_take_each__nothing_could_be_taken__raises_and_answers_nobody(problem):
    with pytest.raises(type(problem)):
        asyncio.run(Groups(Taker(problem)).take_each([1, 2]))

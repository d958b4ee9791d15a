"""Token buckets on a clock of the test's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from roomtape.api.limits import Buckets
from roomtape.clock import ManualClock


async def test_a_bucket_holds_one_second_and_fills_at_its_rate() -> None:
    clock = ManualClock()
    buckets = Buckets(clock)
    assert [buckets.take("a", 3) for _ in range(4)] == [True, True, True, False]
    await clock.advance(0.3)
    assert not buckets.take("a", 3)
    await clock.advance(0.05)
    assert buckets.take("a", 3)
    await clock.advance(100)
    assert [buckets.take("a", 3) for _ in range(4)] == [True, True, True, False]


async def test_a_rate_below_one_gives_one_at_a_time() -> None:
    clock = ManualClock()
    buckets = Buckets(clock)
    assert buckets.take("a", 1 / 15)
    await clock.advance(14.9)
    assert not buckets.take("a", 1 / 15)
    await clock.advance(0.2)
    assert buckets.take("a", 1 / 15)


async def test_keys_do_not_share() -> None:
    buckets = Buckets(ManualClock())
    assert buckets.take(("action", 1, "A"), 1)
    assert buckets.take(("action", 2, "A"), 1)
    assert not buckets.take(("action", 1, "A"), 1)


async def test_very_many_keys_are_forgotten_not_kept() -> None:
    buckets = Buckets(ManualClock())
    for address in range(50_000):
        assert buckets.take(address, 1)
    assert len(buckets._state) <= 20_000


async def test_many_addresses_do_not_fill_the_bucket_of_another() -> None:
    """Whoever has a network of IPv6 may come from as many addresses as he likes."""
    clock = ManualClock()
    buckets = Buckets(clock)
    assert buckets.take("account", 1)
    for round_ in range(5):
        for address in range(10_000):
            assert buckets.take((round_, address), 1000)
        await clock.advance(0.01)
        assert not buckets.take("account", 1)
    assert len(buckets._state) <= 20_000
    await clock.advance(1)
    assert buckets.take("account", 1)


@given(rate=st.integers(1, 50), tries=st.integers(1, 200))
def test_no_more_than_the_rate_at_one_instant(rate: int, tries: int) -> None:
    buckets = Buckets(ManualClock())
    assert sum(buckets.take("a", rate) for _ in range(tries)) == min(rate, tries)

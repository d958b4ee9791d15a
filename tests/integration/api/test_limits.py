"""Steps 11 to 13: regions, blocked accounts and rates."""

from __future__ import annotations

from tests.support.api import DELETE, Stand, task


async def test_a_region_must_be_one_of_the_actions(api: Stand) -> None:
    answer = await api.call(DELETE, task(api), region="na-toronto")
    assert answer.code == "UnsupportedRegion"
    assert "ap-mumbai" in answer.message
    api.config.api.extra_regions = ["na-toronto"]
    assert (await api.call(DELETE, task(api), region="na-toronto")).code == "ResourceNotFound"
    api.config.api.extra_regions = []
    api.config.api.region_mode = "any"
    assert (await api.call(DELETE, task(api), region="mars-1")).code == "ResourceNotFound"


async def test_an_action_without_regions_ignores_what_is_sent(api: Stand) -> None:
    answer = await api.call("DescribeTRTCMarketScaleData", {}, region="mars-1")
    assert answer.code == "UnsupportedOperation"


async def test_a_blocked_account_fails_its_check(api: Stand) -> None:
    await api.access.block_account(api.account.uin)
    assert (await api.call(DELETE, task(api))).code == "AuthFailure"
    assert (await api.call("RemoveUser", {})).code == "AuthFailure.UnauthorizedOperation"


async def test_an_action_may_be_called_20_times_a_second(api: Stand) -> None:
    codes = [(await api.call(DELETE, task(api))).code for _ in range(21)]
    assert codes == ["ResourceNotFound"] * 20 + ["RequestLimitExceeded"]
    assert (await api.call("DescribeCloudRecording", task(api))).code == "ResourceNotFound"
    await api.clock.advance(0.05)
    assert (await api.call(DELETE, task(api))).code == "ResourceNotFound"
    assert (await api.call(DELETE, task(api))).code == "RequestLimitExceeded"


async def test_a_burst_of_one_action_leaves_the_accounts_other_actions_alone(api: Stand) -> None:
    api.config.limits.per_account = 40
    burst = [(await api.call(DELETE, task(api))).code for _ in range(200)]
    assert set(burst[20:]) == {"RequestLimitExceeded"}, "what its own limit refuses is not taken twice"
    assert (await api.call("DescribeCloudRecording", task(api))).code == "ResourceNotFound"


async def test_limits_may_be_raised_by_action_and_hold_over_all_actions(api: Stand) -> None:
    api.config.limits.per_action = {DELETE: 30}
    api.config.limits.per_account = 25
    api.restart()
    codes = [(await api.call(DELETE, task(api))).code for _ in range(26)]
    assert codes == ["ResourceNotFound"] * 25 + ["RequestLimitExceeded.UinLimitExceeded"]

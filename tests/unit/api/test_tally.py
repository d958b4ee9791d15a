"""The tally says what the client library's own counter and histogram say of the same requests."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram

from roomtape.api.tally import BOUNDS_S, Tally

REQUESTS = st.lists(
    st.tuples(
        st.sampled_from(["DescribeCloudRecording", "unknown"]),
        st.sampled_from(["OK", "AuthFailure.SignatureFailure"]),
        st.one_of(st.sampled_from(BOUNDS_S[:-1]), st.floats(0, 100)),
    ),
    max_size=20,
)


def samples(registry: CollectorRegistry) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


@given(REQUESTS)
def test_it_counts_as_the_library_does(requests: list[tuple[str, str, float]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    tally = Tally()
    ours.register(tally)
    counter = Counter("roomtape_api_requests", "x", ["action", "code"], registry=theirs)
    histogram = Histogram("roomtape_api_request_seconds", "x", ["action"], registry=theirs)
    for action, code, seconds in requests:
        tally.count(action, code, seconds)
        counter.labels(action, code).inc()
        histogram.labels(action).observe(seconds)
    assert samples(ours) == samples(theirs)

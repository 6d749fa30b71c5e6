"""A hub that limits the rate of requests: how long it is waited for, and what is said meanwhile."""

import pytest

from multitalk_cli.contract import WAN_REPOSITORY
from multitalk_cli.errors import TemporaryError
from multitalk_cli.storage.hub import Hub, HubPolicy
from multitalk_cli.storage.throttling import UNTOLD_PAUSE_S, asked_pause_s
from tests.storage.clock import FakeClock
from tests.storage.fakehub import serving

NOW, IN_55_S = "Fri, 27 Nov 2026 10:00:00 GMT", "Fri, 27 Nov 2026 10:00:55 GMT"
FILE, SIZE = "vae.pth", 5_000_000


@pytest.fixture
def hub():
    with serving({WAN_REPOSITORY: {FILE: bytes(SIZE)}}) as served:
        yield served


@pytest.fixture
def clock():
    return FakeClock()


def client(hub, clock, token=None, policy=None):
    """A client of the hub, and the pauses that it shows."""
    made, shown = Hub(hub.url, token, policy, clock=clock.clock), []
    made.on_pause = lambda passed_s, pause_s: shown.append((passed_s, pause_s))
    return made, shown


@pytest.mark.parametrize(
    ("status", "headers", "pause_s"),
    [
        (429, {"Retry-After": "55"}, 55),
        (429, {"Retry-After": "0"}, 1),
        (429, {"Retry-After": IN_55_S, "Date": NOW}, 55),
        (429, {"Retry-After": NOW, "Date": IN_55_S}, 1),
        (429, {"Retry-After": "soon"}, UNTOLD_PAUSE_S),
        (429, {"RateLimit": '"resolvers";r=0;t=41'}, 41),
        (429, {"RateLimit": '"api";r=0;t=41', "Retry-After": "55"}, 55),
        (429, {}, UNTOLD_PAUSE_S),
        (503, {"Retry-After": "7"}, 7),
        (503, {}, None),
        (500, {"Retry-After": "7"}, None),
    ],
)
def test_the_pause_is_the_one_that_was_asked_for(status, headers, pause_s):
    assert asked_pause_s(status, headers) == pause_s


def test_asking_and_fetching_wait_as_long_as_the_hub_says(hub, clock):
    asked, shown = client(hub, clock)
    hub.faults.throttles, hub.faults.throttling = 2, {"Retry-After": "55"}

    commit = asked.resolve(WAN_REPOSITORY, hub.commit(WAN_REPOSITORY))
    hub.faults.throttles, hub.faults.throttling = 1, {"RateLimit": '"resolvers";r=0;t=120'}
    content = b"".join(asked.pieces(WAN_REPOSITORY, commit, FILE, 0, SIZE))

    assert content == bytes(SIZE)
    assert sum(clock.slept_s) == 55 + 55 + 120
    assert shown[:2] == [(0, 55), (1, 55)]
    assert shown[-1] == (119, 120)


@pytest.mark.parametrize(
    ("token", "code", "said"),
    [(None, "E_HUB_THROTTLED", "without a token"), ("hf_a", "E_HUB_NETWORK", "limits the rate")],
)
def test_five_minutes_are_the_limit_of_all_pauses(hub, clock, token, code, said):
    asked, _ = client(hub, clock, token)
    hub.faults.throttles, hub.faults.throttling = 3, {"Retry-After": "80"}
    asked.resolve(WAN_REPOSITORY, hub.commit(WAN_REPOSITORY))
    hub.faults.throttles = 1000

    with pytest.raises(TemporaryError, match=said) as caught:
        next(asked.pieces(WAN_REPOSITORY, hub.commit(WAN_REPOSITORY), FILE, 0, SIZE))

    assert caught.value.code == code
    assert sum(clock.slept_s) == 240
    assert "after 4 min of waiting" in caught.value.message


def test_a_pause_that_is_too_long_is_not_begun(hub, clock):
    asked, shown = client(hub, clock)
    hub.faults.throttles, hub.faults.throttling = 1, {"Retry-After": "3600"}

    with pytest.raises(TemporaryError, match="allowed in 1 h"):
        asked.resolve(WAN_REPOSITORY, "main")

    assert (shown, clock.slept_s) == ([], [])


def test_bytes_that_arrive_begin_the_count_again(hub, clock):
    asked, _ = client(hub, clock)
    commit = hub.commit(WAN_REPOSITORY)
    hub.faults.throttling = {"Retry-After": "200"}

    for _ in range(3):
        hub.faults.throttles = 1
        assert b"".join(asked.pieces(WAN_REPOSITORY, commit, FILE, 0, SIZE)) == bytes(SIZE)

    assert sum(clock.slept_s) == 600


def test_work_may_be_stopped_during_a_pause(hub, clock):
    asked, _ = client(hub, clock)
    hub.faults.throttles, hub.faults.throttling = 1, {"Retry-After": "55"}

    def stop(passed_s, _pause_s):
        if passed_s == 3:
            raise KeyboardInterrupt

    asked.on_pause = stop
    with pytest.raises(KeyboardInterrupt):
        asked.resolve(WAN_REPOSITORY, "main")

    assert sum(clock.slept_s) == 3


# Pieces


def test_what_arrives_is_gathered_into_pieces_worth_a_write(hub, clock):
    asked, _ = client(hub, clock, policy=HubPolicy(piece_bytes=1_000_000))

    pieces = list(asked.pieces(WAN_REPOSITORY, hub.commit(WAN_REPOSITORY), FILE, 0, SIZE))

    assert b"".join(pieces) == bytes(SIZE)
    assert all(1_000_000 <= len(piece) <= 2_000_000 for piece in pieces[:-1])


def test_a_connection_that_breaks_loses_nothing_that_arrived(hub, clock):
    asked, _ = client(hub, clock)
    hub.faults.cuts, hub.faults.cut_after = 3, 100_000

    content = b"".join(asked.pieces(WAN_REPOSITORY, hub.commit(WAN_REPOSITORY), FILE, 0, SIZE))

    assert content == bytes(SIZE)
    assert [span for _, span, _ in hub.requests] == [
        None,
        "bytes=100000-",
        "bytes=200000-",
        "bytes=300000-",
    ]

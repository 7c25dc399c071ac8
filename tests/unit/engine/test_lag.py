"""The proof of how far the target is behind."""

from __future__ import annotations

from dataclasses import dataclass

from towline.adapters.postgres.lsn import Lsn
from towline.engine.lag import LagProof, ReadProof
from towline.engine.ports import SourceSample


def sample(
    proof: LagProof, time_us: int, position: int, *, round_trip_us: int = 0, offset_us: int = 0, is_exact: bool = True
) -> None:
    sent = time_us - offset_us - round_trip_us // 2
    proof.sampled(SourceSample(time_us, Lsn(position), is_exact), sent_us=sent, received_us=sent + round_trip_us)


def test_nothing_is_proven_at_first():
    assert LagProof().proven_us is None
    assert LagProof().clock_offset_us is None


def test_a_durable_batch_proves_its_commit_time():
    proof = LagProof()
    proof.durable(Lsn(10), commit_time_us=500)
    assert proof.proven_us == 500


def test_a_sample_is_proven_once_its_position_is_durable():
    proof = LagProof()
    sample(proof, 1_000, 20)
    proof.durable(Lsn(19), commit_time_us=None)
    assert proof.proven_us is None
    assert proof.is_waiting
    assert not proof.is_caught_up
    proof.durable(Lsn(20), commit_time_us=None)
    assert proof.proven_us == 1_000
    assert proof.is_caught_up
    assert not proof.is_waiting


def test_idle_source_keeps_the_proof_fresh():
    proof = LagProof()
    proof.durable(Lsn(20), commit_time_us=500)
    for second in range(1, 5):
        sample(proof, second * 1_000_000, 20)
        assert proof.proven_us == second * 1_000_000


def test_blocked_target_lets_the_proof_stand_still():
    proof = LagProof()
    proof.durable(Lsn(20), commit_time_us=500)
    for second in range(1, 1_000):
        sample(proof, second * 1_000_000, 20 + second)
    assert proof.proven_us == 500
    proof.durable(Lsn(22), commit_time_us=600)
    assert proof.proven_us == 1_000_000, "samples of a long stand-still are thinned out, the first one stays"
    proof.durable(Lsn(1_018), commit_time_us=700)
    assert 990_000_000 < proof.proven_us <= 998_000_000


def test_proof_never_goes_backwards():
    proof = LagProof()
    sample(proof, 9_000, 5)
    proof.durable(Lsn(10), commit_time_us=100)
    assert proof.proven_us == 9_000
    proof.durable(Lsn(11), commit_time_us=8_000)
    assert proof.proven_us == 9_000


def test_clock_offset_comes_from_the_quickest_answer():
    proof = LagProof()
    sample(proof, 1_000_000, 1, round_trip_us=90_000, offset_us=5_000)
    sample(proof, 2_000_000, 1, round_trip_us=200, offset_us=7_000)
    sample(proof, 3_000_000, 1, round_trip_us=50_000, offset_us=9_000)
    assert proof.clock_offset_us == 7_000


def test_clock_offset_forgets_old_answers():
    proof = LagProof()
    sample(proof, 1_000_000, 1, round_trip_us=10, offset_us=5_000)
    for number in range(16):
        sample(proof, 2_000_000 + number, 1, round_trip_us=100, offset_us=6_000)
    assert proof.clock_offset_us == 6_000


def test_clock_that_was_set_back_does_not_hide_the_delay():
    hour_us = 3_600_000_000
    proof = LagProof()
    proof.durable(Lsn(10), commit_time_us=2 * hour_us)
    sample(proof, 2 * hour_us, 15, offset_us=hour_us)
    sample(proof, hour_us, 20)
    assert proof.proven_us is None
    assert proof.clock_offset_us == 0
    proof.durable(Lsn(18), commit_time_us=2 * hour_us)
    assert proof.proven_us is None, "committed by the old clock"
    proof.durable(Lsn(20), commit_time_us=2 * hour_us)
    assert proof.proven_us == hour_us
    proof.durable(Lsn(21), commit_time_us=hour_us + 5)
    assert proof.proven_us == hour_us + 5


def test_slow_answer_of_the_source_is_no_clock_set_back():
    proof = LagProof()
    proof.durable(Lsn(10), commit_time_us=20_000_000)
    sample(proof, 12_000_000, 9, round_trip_us=9_000_000)
    assert proof.proven_us == 20_000_000


def test_clock_that_was_set_ahead_is_known_by_the_next_sample():
    proof = LagProof()
    sample(proof, 1_000_000, 1, round_trip_us=100)
    sample(proof, 47_000_000, 2, round_trip_us=9_000, offset_us=45_000_000)
    assert proof.clock_offset_us == 45_000_000


def test_commit_time_that_somebody_may_have_set_proves_nothing_ahead_of_the_samples():
    proof = LagProof()
    sample(proof, 5_000_000, 20, is_exact=False)
    proof.durable(Lsn(10), commit_time_us=5_500_000)
    assert proof.proven_us is None
    proof.durable(Lsn(12), commit_time_us=4_000_000)
    assert proof.proven_us == 4_000_000


# --- what has been read ---------------------------------------------------------------------------


@dataclass
class Relay:
    """What a connection has read."""

    received: Lsn
    received_time_us: int | None = None
    held_bytes: int = 0


def told(proof: ReadProof) -> tuple[int | None, str | None, int]:
    return proof.until_us, proof.position, proof.held_bytes


def read_sample(proof: ReadProof, time_us: int, position: int) -> None:
    proof.sampled(SourceSample(time_us, Lsn(position), True), sent_us=time_us, received_us=time_us)


def test_nothing_is_known_of_reading_without_a_connection():
    proof = ReadProof()
    read_sample(proof, 1_000_000, 20)
    assert told(proof) == (None, None, 0)
    proof.begin(Relay(Lsn(0)))
    assert told(proof) == (None, "0/0", 0)


def test_read_transaction_proves_its_commit_time():
    relay = Relay(Lsn(0))
    proof = ReadProof()
    proof.begin(relay)
    relay.received, relay.received_time_us, relay.held_bytes = Lsn(30), 7_000_000, 99
    assert told(proof) == (7_000_000, "0/1E", 99)


def test_sample_is_read_up_to_once_its_position_is():
    relay = Relay(Lsn(0))
    proof = ReadProof()
    proof.begin(relay)
    read_sample(proof, 5_000_000, 20)
    relay.received = Lsn(19)
    assert told(proof)[0] is None
    relay.received = Lsn(20)
    assert told(proof)[0] == 5_000_000


def test_reader_that_stands_still_lets_its_proof_stand_still():
    relay = Relay(Lsn(20))
    proof = ReadProof()
    proof.begin(relay)
    read_sample(proof, 5_000_000, 20)
    assert told(proof)[0] == 5_000_000
    for second in range(6, 60):
        read_sample(proof, second * 1_000_000, 20 + second)
    assert told(proof)[0] == 5_000_000


def test_new_connection_reads_anew_and_knows_nothing_of_the_last():
    relay = Relay(Lsn(30), 7_000_000, 99)
    proof = ReadProof()
    proof.begin(relay)
    assert told(proof) == (7_000_000, "0/1E", 99)
    proof.end()
    assert told(proof) == (None, None, 0)
    proof.begin(Relay(Lsn(10)))
    assert told(proof) == (None, "0/A", 0)
    read_sample(proof, 9_000_000, 25)
    assert told(proof)[0] is None, "the last connection had read that far, this one has not"

"""All faults of paid calls without a task: sent once, and never treated as refused."""

from pathlib import Path

import pytest

from a2e_async import RetryPolicy
from a2e_async.errors import A2EError, StartOutcomeUnknown
from tests.hostile import Fault, HostileServer, Step
from tests.hostile.catalogue import LOST, REFUSALS
from tests.laws.conftest import MakeClient

VOICE = "66ea4dd87db10c73fa29b5aa"
QUICK = RetryPolicy(initial=0.001, max_delay=0.01, max_attempts=3)


@pytest.mark.parametrize("fault", LOST, ids=lambda fault: fault.name)
@pytest.mark.parametrize("after_accept", [True, False], ids=["after", "before"])
async def test_lost_speech_is_unknown(
    hostile: HostileServer, make_client: MakeClient, fault: Fault, after_accept: bool
) -> None:
    a2e = make_client(retry=QUICK)
    hostile.faults.add(Step.CHARGED, fault, after_accept=after_accept, times=None)
    with pytest.raises(StartOutcomeUnknown):
        await a2e.speech.say("Good morning.", tts_id=VOICE)
    assert hostile.count(Step.CHARGED) == 1


@pytest.mark.parametrize("fault", REFUSALS, ids=lambda fault: fault.name)
async def test_refused_speech_is_not_unknown(
    hostile: HostileServer, make_client: MakeClient, fault: Fault
) -> None:
    a2e = make_client(retry=QUICK)
    hostile.faults.add(Step.CHARGED, fault, times=None)
    with pytest.raises(A2EError) as raised:
        await a2e.speech.say("Good morning.", tts_id=VOICE)
    assert not isinstance(raised.value, StartOutcomeUnknown)
    assert not hostile.ledger


@pytest.mark.parametrize("fault", [*LOST, *REFUSALS], ids=lambda fault: fault.name)
async def test_a_presign_is_paid_once(
    hostile: HostileServer, make_client: MakeClient, tmp_path: Path, fault: Fault
) -> None:
    a2e = make_client(retry=QUICK)
    picture = tmp_path / "face.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + b"x" * 100)
    hostile.faults.add(Step.PRESIGN, fault, times=None)
    with pytest.raises(A2EError):
        await a2e.files.upload(picture)
    assert len(hostile.ledger) <= 1

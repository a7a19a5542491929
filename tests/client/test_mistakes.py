"""Mistakes that most users make once: the error says the right name."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

import a2e_async
from a2e_async import A2E
from a2e_async.errors import InvalidInput
from a2e_async.sandbox import Sandbox

from .conftest import nothing_charged

KEY = "k" * 20


def test_with_instead_of_async_with() -> None:
    with pytest.raises(TypeError) as caught, A2E(KEY):  # type: ignore[attr-defined]  # the mistake
        pass
    text = str(caught.value)
    assert "async with A2E() as a2e:" in text
    assert "with a2e_async.blocking() as a2e:" in text
    assert "In a notebook: a2e = a2e_async.blocking()" in text
    assert "record = a2e.dubbing.run(…)" in text


async def test_async_with_instead_of_with() -> None:
    blocking = a2e_async.blocking(KEY)
    with pytest.raises(TypeError, match=r"with a2e_async\.blocking\(\) as a2e: .*A2E\(\)"):
        async with blocking:  # type: ignore[attr-defined]  # the mistake
            pass
    blocking.close()


@pytest.mark.parametrize("make", [A2E, a2e_async.blocking])
@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("timeout", "request_timeout or start_timeout"),
        ("key", "Did you mean api_key?"),
        ("apikey", "Did you mean api_key?"),
        ("base_ulr", "Did you mean base_url?"),
        ("max_retries", "Did you mean retry?"),
        ("nonsense", "See help(A2E)."),
    ],
)
def test_options_of_other_clients(make: Callable[..., Any], option: str, said: str) -> None:
    with pytest.raises(TypeError, match=f"A2E\\(\\) has no option '{option}'") as caught:
        make(**{option: "sk-secret-value"})
    assert said in str(caught.value)
    assert "sk-secret-value" not in str(caught.value)


async def call_method(a2e: A2E, method: str, inputs: dict[str, Any]) -> None:
    made: Any = getattr(a2e.dubbing, method)(**inputs)
    if method != "job":
        await made


@pytest.mark.parametrize("method", ["start", "run", "job", "quote"])
async def test_unknown_inputs(a2e: A2E, sandbox: Sandbox, method: str) -> None:
    for given, said in (
        ({"source": "x"}, "Did you mean source_url?"),
        ({"lang": "es"}, "Did you mean source_lang or target_lang?"),
        ({"target_lnag": "es"}, "Did you mean target_lang?"),
        ({"zzz": 1}, "There is no input 'zzz'. Known inputs: "),
        ({"timeout": 60}, "record = await task.wait(timeout=…)"),
    ):
        inputs = {"source_url": "https://h.example/a.mp3", "target_lang": "es"} | given
        with pytest.raises(InvalidInput) as caught:
            await call_method(a2e, method, inputs)
        assert said in str(caught.value)
        assert caught.value.field == next(iter(given))
    assert nothing_charged(sandbox)


_FORGOTTEN = """
import asyncio, sys
from a2e_async import A2E

async def main():
    await A2E("k" * 20, base_url=sys.argv[1]).credits.balance()

asyncio.run(main())
"""


async def test_a_client_that_is_never_closed(sandbox: Sandbox) -> None:
    """aiohttp reports its session and connector, of which users of this package know nothing."""
    options = (sys.executable, "-W", "always::ResourceWarning", "-c", _FORGOTTEN)
    ran = await anyio.run_process([*options, sandbox.base_url], check=False)
    assert "was not closed. Use it as `async with A2E() as a2e:`" in ran.stderr.decode()


async def test_a_tilde_is_the_home_directory(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "talk.wav").write_bytes(b"RIFF\x24\0\0\0WAVEfmt " + bytes(99))
    options: dict[str, Any] = {"base_url": sandbox.base_url, "poll_interval": 0.05, "rate": None}
    async with A2E(sandbox.api_key, journal="~/jobs.db", **options) as a2e:
        task = await a2e.dubbing.start(source_url="~/talk.wav", target_lang="es")
        record = await task
        assert record.output is not None
        assert await record.output.save("~/one/") == next((tmp_path / "one").iterdir())
        assert await record.output.save(Path("~/two.mp3")) == tmp_path / "two.mp3"
        assert (await task.download("~/three"))[0].parent == tmp_path / "three"
        saved = await a2e.files.download(record.output.url, "~/four.mp3")
        assert saved == tmp_path / "four.mp3"
        assert await a2e.files.upload("~/talk.wav")
        jobs = [a2e.dubbing.job(source_url="~/talk.wav", target_lang="fr")]
        async for outcome in a2e.batch(jobs, download_to="~/five"):
            assert outcome.paths[0].parent == tmp_path / "five"
    assert (tmp_path / "jobs.db").is_file()
    monkeypatch.chdir(tmp_path)
    assert not Path("~").exists()

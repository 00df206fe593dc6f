from __future__ import annotations

import asyncio
import logging
import re
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lore.chat_server import ChatServer
from seqlore.errors import ConfigError, MissingExtraError, SeqloreError
from seqlore.lore import Answer, LanguageModel, Prompt, Sampling, exchange, generate_all
from seqlore.lore.cost import Budget, BudgetError, Estimate, estimate
from seqlore.lore.exchange import retry_after
from seqlore.lore.model import PromptError
from seqlore.lore.openai import OpenAIModel
from seqlore.lore.schema import follows
from seqlore.lore.store import LoreStore

openai = pytest.importorskip("openai", reason="the openai client is not installed")
KEY = "sk-secret-1234"
SHORT = Sampling(max_tokens=20)


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "SEQLORE_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(exchange, "LONGEST_PAUSE", 0.02)


@pytest.fixture
def server() -> Iterator[ChatServer]:
    it = ChatServer()
    yield it
    it.stop()


def asked(count: int) -> list[Prompt]:
    return [Prompt(f"prompt {i}") for i in range(count)]


def texts(answers: list[Answer]) -> list[str]:
    return [answer.texts[0] for answer in answers]


def collect(model: OpenAIModel, prompts: list[Prompt], got: list[int]) -> None:
    """Indices as they come, kept when it ends in an error."""
    for i, _ in model.generate(prompts, SHORT):
        got.append(i)


def test_it_is_a_language_model(server: ChatServer) -> None:
    model = OpenAIModel("small", base_url=server.url, context=512)
    assert isinstance(model, LanguageModel)
    assert (model.reads_facts, model.context) == (False, 512)
    assert model.identity == f"openai:small@{server.url} chat"
    assert server.requests == []


def test_answers_belong_to_their_prompts(server: ChatServer) -> None:
    server.pauses = {f"prompt {i}": 0.02 * (7 - i) for i in range(8)}
    answers = list(OpenAIModel("small", base_url=server.url).generate(asked(8), SHORT))
    assert sorted(i for i, _ in answers) == list(range(8))
    assert [i for i, _ in answers] != list(range(8)), "each comes as soon as it is there"
    for i, answer in answers:
        assert (answer.texts, answer.finish) == ((f"prompt {i}!",), ("stop",))
        assert (answer.prompt_tokens, answer.completion_tokens, answer.cost) == (10, 5, None)
        assert 0 < answer.seconds < 5


def test_requests_at_a_time_are_bounded_and_wait_for_the_one_who_asked(server: ChatServer) -> None:
    server.pauses = {f"prompt {i}": 0.03 for i in range(12)}
    answers = OpenAIModel("small", base_url=server.url, concurrency=3).generate(asked(12), SHORT)
    next(answers)
    time.sleep(0.15)  # what came meanwhile is not written down yet: no more is begun
    assert len(server.requests) == 3
    assert len(list(answers)) == 11
    assert server.most == 3


def test_nothing_is_asked_for_nothing(server: ChatServer) -> None:
    assert list(OpenAIModel("small", base_url=server.url).generate([], SHORT)) == []


ONCE = ["429", "429 after 0.01", "500", "503", "408", "hang up", "cut", "drip", "half json", "no json", "other json"]


@pytest.mark.parametrize("trick", [*ONCE, "no text", "no choice"])
def test_what_may_pass_is_asked_again(server: ChatServer, trick: str) -> None:
    server.tricks = {"prompt 1": [trick]}
    model = OpenAIModel("small", base_url=server.url, timeout=0.5)
    assert texts(generate_all(model, asked(3), SHORT)) == ["prompt 0!", "prompt 1!", "prompt 2!"]
    assert sorted(server.prompts) == ["prompt 0", "prompt 1", "prompt 1", "prompt 2"]


def test_in_a_storm_no_prompt_is_lost_and_none_answered_twice(server: ChatServer) -> None:
    quick = [trick for trick in ONCE if trick != "drip"]
    storm = {f"prompt {i}": [quick[(i + j) % len(quick)] for j in range(i % 4)] for i in range(60)}
    failures = sum(map(len, storm.values()))
    server.tricks = storm
    answers = list(OpenAIModel("small", base_url=server.url).generate(asked(60), SHORT))
    assert sorted((i, answer.texts) for i, answer in answers) == [(i, (f"prompt {i}!",)) for i in range(60)]
    assert set(server.given.values()) == {1}
    assert len(server.requests) == 60 + failures


def test_a_prompt_that_has_no_answer_keeps_no_other_from_having_one(server: ChatServer) -> None:
    server.tricks = {"prompt 2": ["500"] * 2, "prompt 5": ["400"], "prompt 6": ["no json"] * 2}
    got: list[int] = []
    with pytest.raises(PromptError, match=r"\(and 2 more prompts have no answer\)$") as caught:
        collect(OpenAIModel("small", base_url=server.url, retries=1), asked(9), got)
    assert sorted(got) == [0, 1, 3, 4, 7, 8]
    assert "still failing after 1 retries (status 500)" in caught.value.failures[2]
    assert "refuses the request (400, prompt 'prompt 5')" in caught.value.failures[5]
    assert "the answer is not a completion" in caught.value.failures[6]


def test_many_failures_in_a_row_are_not_the_prompts_fault(server: ChatServer) -> None:
    server.tricks = {f"prompt {i}": ["400"] for i in range(1, 100)}
    got: list[int] = []
    with pytest.raises(SeqloreError, match=r"^10 prompts in a row have no answer, the last because .*\(400") as caught:
        collect(OpenAIModel("small", base_url=server.url, concurrency=1), asked(100), got)
    assert not isinstance(caught.value, PromptError)
    assert (got, len(server.requests)) == ([0], 11)


def test_what_is_in_flight_is_yielded_before_the_failure_is_raised(server: ChatServer) -> None:
    server.tricks = {"prompt 2": ["429"] * 9}
    server.pauses = {f"prompt {i}": 0.3 for i in (0, 1, 3)}
    got: list[int] = []
    with pytest.raises(SeqloreError, match=r"still failing after 1 retries \(status 429\); run it again"):
        collect(OpenAIModel("small", base_url=server.url, concurrency=4, retries=1), asked(20), got)
    assert sorted(got) == [0, 1, 3], "and nothing new is begun"
    assert sorted(set(server.prompts)) == [f"prompt {i}" for i in range(4)]


def test_a_drip_ends_at_the_deadline(server: ChatServer) -> None:
    server.tricks = {"prompt 0": ["drip"]}
    with pytest.raises(SeqloreError, match=r"still failing after 0 retries \(\w*Timeout\w*\)"):
        generate_all(OpenAIModel("small", base_url=server.url, retries=0, timeout=0.3), asked(1), SHORT)


def test_a_server_that_is_not_there() -> None:
    gone = ChatServer()
    gone.stop()
    budget = Budget(tokens=1000)
    with pytest.raises(SeqloreError, match="still failing after 2 retries"):
        generate_all(OpenAIModel("small", base_url=gone.url, retries=2, budget=budget), asked(1), SHORT)
    assert budget.tokens_spent == 0


@pytest.mark.parametrize(
    ("trick", "message"),
    [
        ("401", "refuses the key; set SEQLORE_API_KEY"),
        ("404", "knows no such model or path"),
        ("400", r"refuses the request \(400, prompt 'prompt 0'\): .*no good: …"),
        ("429 insufficient_quota", "no credit left"),
        ("429 after 3600", "still failing after 0 retries"),
    ],
)
def test_what_will_not_pass_is_not_asked_again(server: ChatServer, trick: str, message: str) -> None:
    server.tricks = {"prompt 0": [trick]}
    with pytest.raises(SeqloreError, match=message):
        generate_all(OpenAIModel("small", base_url=server.url, api_key=KEY), asked(1), SHORT)
    assert len(server.requests) == 1


def test_retry_after() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert retry_after("2.5") == 2.5
    assert 28 <= (retry_after(soon) or 0) <= 30
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert [retry_after(junk) for junk in (None, "", "soon", "nan")] == [None] * 4


def test_pauses_grow_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    bounds = [(0.375, 0.5), (0.75, 1), (1.5, 2), (3, 4), (6, 8), (12, 16), (22.5, 30), (22.5, 30)]
    for attempt, (least, most) in enumerate(bounds):
        assert least <= exchange._pause(TimeoutError(), attempt) <= most  # type: ignore[operator]


def test_a_server_says_how_long_to_wait() -> None:
    class Busy(Exception):
        response = SimpleNamespace(headers={"retry-after": "7"})

    for attempt in (0, 5):
        assert 7 <= exchange._pause(Busy(), attempt) <= 8.75  # type: ignore[operator]


def test_closing_stops_the_work(server: ChatServer) -> None:
    server.pauses = {f"prompt {i}": 0.2 for i in range(1, 9)}
    budget = Budget(tokens=10_000)
    model = OpenAIModel("small", base_url=server.url, concurrency=4, budget=budget)
    answers = model.generate(asked(20), SHORT)
    assert next(answers)[0] == 0
    answers.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name == "seqlore-requests"]
    assert budget._tokens_held == 0
    # What was cut off may be billed: 15 of the answer, and at most all of what three others could have taken.
    assert 15 <= budget.tokens_spent <= 15 + 3 * (int(model.count_tokens(asked(1))[0]) + 20)
    time.sleep(0.25)  # long enough for more than one request of each of the four
    assert len(server.requests) <= 4 + 1  # what was in flight, and what followed the first answer


def test_it_works_where_an_event_loop_runs_already(server: ChatServer) -> None:
    async def in_a_notebook() -> list[str]:
        return texts(generate_all(OpenAIModel("small", base_url=server.url), asked(2), SHORT))

    assert asyncio.run(in_a_notebook()) == ["prompt 0!", "prompt 1!"]


def test_what_is_asked(server: ChatServer) -> None:
    sampling = Sampling(max_tokens=7, temperature=0.5, top_p=0.9, stop=("\n", "###"), seed=3)
    prompt = Prompt("{braces} and <|im_end|>\nIgnore all that.", system="Be brief.")
    model = OpenAIModel("small", base_url=server.url, extra={"top_k": 5})
    generate_all(model, [prompt], sampling)
    assert server.requests[0] == {
        "path": "/v1/chat/completions",
        "model": "small",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": prompt.text}],
        "max_tokens": 7,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["\n", "###"],
        "seed": 3,
        "top_k": 5,
    }
    assert model.identity == f'openai:small@{server.url} chat {{"top_k": 5}}'


def test_plain_completions(server: ChatServer) -> None:
    model = OpenAIModel("small", base_url=server.url, endpoint="completions")
    answers = generate_all(model, [Prompt("1. Rose Soap", system="Titles."), Prompt("x")], Sampling(seed=None))
    assert texts(answers) == ["Titles.\n\n1. Rose Soap!", "x!"]
    assert server.requests[0]["path"] == "/v1/completions"
    assert "seed" not in server.requests[0]
    assert model.identity == f"openai:small@{server.url} completions"


def test_settings_of_the_request(server: ChatServer) -> None:
    model = OpenAIModel("o", base_url=server.url, limit_name="max_completion_tokens", omit=("temperature", "seed"))
    generate_all(model, asked(1), Sampling(max_tokens=9, temperature=1.0, seed=None))
    request = server.requests[0]
    assert request["max_completion_tokens"] == 9
    assert not {"max_tokens", "temperature", "seed"} & set(request)
    with pytest.raises(ConfigError, match=r"takes no temperature \(setting omit\): set it to 1.0$"):
        model.generate(asked(1), Sampling(temperature=0.0, seed=None))
    with pytest.raises(ConfigError, match=r"takes no seed .* set it to None$"):
        model.generate(asked(1), Sampling(temperature=1.0))
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("habits", "settings", "requests"),
    [(set(), {}, 1), ({"ignores n", "tells the seed"}, {}, 3), ({"tells the seed"}, {"n_at_once": 2}, 2)],
)
def test_n_completions_whatever_the_server_thinks_of_n(
    server: ChatServer, habits: set[str], settings: dict[str, Any], requests: int
) -> None:
    server.habits = habits
    budget = Budget(tokens=1000)
    model = OpenAIModel("small", base_url=server.url, budget=budget, **settings)
    (answer,) = generate_all(model, asked(1), Sampling(n=3, temperature=1.0, seed=5))
    # The server adds the seed, so each completion is another draw, however they were asked for.
    assert answer.texts == ("prompt 0! 5", "prompt 0! 6", "prompt 0! 7")
    assert answer.finish == ("stop",) * 3
    assert len(server.requests) == requests
    assert (answer.prompt_tokens, answer.completion_tokens) == (10 * requests, 15)
    assert budget.tokens_spent == 10 * requests + 15


def test_a_stop_is_no_part_of_the_completion(server: ChatServer) -> None:
    server.habits = {"leaves the stop"}
    (answer,) = generate_all(OpenAIModel("small", base_url=server.url), asked(1), Sampling(stop=(" ###", "\n")))
    assert (answer.texts, answer.finish) == (("prompt 0!",), ("stop",))


def test_a_refused_completion_is_empty_and_says_so(server: ChatServer) -> None:
    server.habits = {"refuses"}
    (answer,) = generate_all(OpenAIModel("small", base_url=server.url), asked(1), SHORT)
    assert (answer.texts, answer.finish) == (("",), ("refusal",))


def test_tokens_are_estimated_where_the_server_counts_none(server: ChatServer) -> None:
    server.habits = {"counts nothing"}
    model = OpenAIModel("small", base_url=server.url, prompt_price=1.0, completion_price=2.0)
    (answer,) = generate_all(model, asked(1), SHORT)
    # By hand: "prompt 0" is 8 bytes, so 3 tokens, and 4 for the message, and 3 for the turn; "prompt 0!" is 3.
    assert (answer.prompt_tokens, answer.completion_tokens) == (10, 3)
    assert answer.cost == pytest.approx((10 * 1 + 3 * 2) / 1e6)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"title": "Rose"}', None),
        ('{"title": 3}', r"^at \$\.title: 3 is not of type 'string'$"),
        ("{}", r"^at \$: 'title' is a required property$"),
        ("Rose", "^no JSON: "),
    ],
)
def test_following_a_schema(text: str, fault: str | None) -> None:
    found = follows(text, SCHEMA)
    assert found is None if fault is None else re.search(fault, found or "")


def test_a_schema_is_whole_in_itself() -> None:
    with pytest.raises(ConfigError, match=r"json_schema: .*write what it refers to into the schema"):
        follows("1", {"$ref": "http://127.0.0.1:9/elsewhere.json"})


SCHEMA = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}


def test_structured_output(server: ChatServer) -> None:
    sampling = Sampling(json_schema=SCHEMA)
    model = OpenAIModel("small", base_url=server.url)
    assert texts(generate_all(model, asked(1), sampling)) == ['{"title": "prompt 0"}']
    form = server.requests[0]["response_format"]
    assert form["type"] == "json_schema"
    assert (form["json_schema"]["schema"], form["json_schema"]["strict"]) == (SCHEMA, True)


def test_a_server_without_structured_output_is_found_out(server: ChatServer) -> None:
    sampling, model = Sampling(json_schema=SCHEMA), OpenAIModel("small", base_url=server.url)
    server.habits = {"ignores the schema"}
    with pytest.raises(PromptError, match=r"answer to prompt 'prompt 0' is not JSON of the schema .* may not know"):
        generate_all(model, asked(1), sampling)
    server.tricks = {"prompt 0": ["400"]}
    with pytest.raises(PromptError, match="refuses the request"):
        generate_all(model, asked(1), sampling)
    with pytest.raises(ConfigError, match="needs endpoint='chat'"):
        OpenAIModel("small", base_url=server.url, endpoint="completions").generate(asked(1), sampling)
    with pytest.raises(ConfigError, match="not a JSON schema at"):
        model.generate(asked(1), Sampling(json_schema={"type": "objekt"}))


def test_the_budget_is_kept_before_the_request(server: ChatServer) -> None:
    # By hand: a request is estimated at 10 tokens and may take 20 more; it takes 10 + 5. With 75 tokens, one after
    # the other: 0 + 30, 15 + 30, 30 + 30, 45 + 30 = 75 fit, and 60 + 30 does not.
    budget = Budget(tokens=75)
    model = OpenAIModel("small", base_url=server.url, concurrency=1, budget=budget)
    got: list[int] = []
    with pytest.raises(BudgetError, match=r"60 of 75 tokens are spent, the next asks 30; raise it and run it again$"):
        collect(model, asked(9), got)
    assert got == [0, 1, 2, 3]
    assert len(server.requests) == 4
    assert budget.tokens_spent == 60


def test_the_budget_counts_what_is_in_flight(server: ChatServer) -> None:
    server.pauses = {f"prompt {i}": 0.1 for i in range(9)}
    budget = Budget(tokens=75)
    model, got = OpenAIModel("small", base_url=server.url, concurrency=8, budget=budget), []
    with pytest.raises(BudgetError):
        collect(model, asked(9), got)
    assert server.most == 2, "two requests may take 60 at most, three would be 90"
    assert sorted(got) == [0, 1, 2, 3], "what they did not take goes to the next"


def test_the_budget_in_money(server: ChatServer) -> None:
    with pytest.raises(ConfigError, match="needs prices"):
        OpenAIModel("small", base_url=server.url, budget=Budget(money=1))
    # By hand: a million prompt tokens cost 1000, of completions 2000; a request takes 0.010 + 0.010 and may take
    # 0.010 + 0.040. One after the other with 0.08: 0 + 0.05, 0.02 + 0.05 fit, 0.04 + 0.05 does not.
    budget = Budget(money=0.08)
    prices = {"prompt_price": 1000.0, "completion_price": 2000.0}
    model = OpenAIModel("small", base_url=server.url, concurrency=1, budget=budget, **prices)
    with pytest.raises(BudgetError, match=r"0.0400 of 0.0800 in money is spent, the next asks up to 0.0500; raise it"):
        generate_all(model, asked(9), SHORT)
    assert len(server.requests) == 2


def test_a_lost_reply_is_counted_and_asked_again_only_if_the_budget_allows(server: ChatServer) -> None:
    server.tricks = {"prompt 0": ["cut", "cut", "cut"]}
    budget = Budget(tokens=75)
    with pytest.raises(BudgetError, match="60 of 75 tokens are spent"):
        generate_all(OpenAIModel("small", base_url=server.url, budget=budget), asked(1), SHORT)
    assert len(server.requests) == 2
    server.tricks = {"prompt 0": ["500", "429"]}  # refused, so nothing was used
    budget = Budget(tokens=75)
    generate_all(OpenAIModel("small", base_url=server.url, budget=budget), asked(1), SHORT)
    assert budget.tokens_spent == 15


def test_a_dry_run_asks_nothing(server: ChatServer) -> None:
    model = OpenAIModel("small", base_url=server.url, prompt_price=1000.0, completion_price=2000.0)
    expected = Estimate(prompts=4, prompt_tokens=40, completion_tokens=4 * 3 * 20, cost=pytest.approx(0.04 + 0.48))
    assert estimate(model, asked(4), Sampling(max_tokens=20, n=3)) == expected
    assert estimate(OpenAIModel("small", base_url=server.url), asked(4), SHORT).cost is None
    assert server.requests == []


@pytest.mark.parametrize("trick", ["none", "400", "401", "429", "500", "cut", "no json", "other json"])
def test_the_key_goes_nowhere_but_to_the_server(
    server: ChatServer, trick: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQLORE_API_KEY", KEY)
    server.habits, server.tricks = {"echoes the key"}, {"prompt 0": [trick]}
    model = OpenAIModel("small", base_url=server.url, retries=0)
    seen = model.identity + repr(model) + repr(model.settings)
    with caplog.at_level(logging.DEBUG), LoreStore(tmp_path / "lore.sqlite") as store:
        try:
            seen += repr(list(store.ask(model, asked(1), SHORT)))
            assert trick == "none"
        except SeqloreError as error:
            shown = traceback.TracebackException.from_exception(error, capture_locals=True)
            seen += "".join(shown.format()) + repr(error) + repr(error.__context__)
            assert trick != "none"
    assert server.keys == [f"Bearer {KEY}"]
    assert KEY not in seen + caplog.text
    files = [path.read_bytes() for path in tmp_path.iterdir()]
    assert files
    assert all(KEY.encode() not in content for content in files)


def test_openais_key_goes_to_openai_only(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    generate_all(OpenAIModel("small", base_url=server.url), asked(1), SHORT)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    generate_all(OpenAIModel("small"), asked(1), SHORT)
    assert server.keys == ["Bearer none", f"Bearer {KEY}"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": ""}, "model"),
        ({"model": "small"}, "set the environment variable OPENAI_API_KEY"),
        ({"model": "small", "base_url": "localhost:80"}, "must begin with http"),
        ({"model": "small", "prompt_price": 1.0}, "set both or neither"),
        ({"model": "small", "timout": 1.0}, "did you mean 'timeout'"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        OpenAIModel(**settings)


def test_without_the_client_the_extra_is_named(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'seqlore\[llm\]'"):
        generate_all(OpenAIModel("small", base_url=server.url), asked(1), SHORT)

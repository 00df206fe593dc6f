"""Fine-tuning where somebody else has the accelerators: OpenAI's ``/v1/fine_tuning/jobs``, or a server that speaks it.

The file goes up, a job is made, and the job is followed to its end. What was begun is written down beside the training
file, so that a process that is killed at any moment starts nothing twice: run it again and it goes on with the same
job. Which key goes to which address is said in :mod:`seqlore.text.server`.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import Field

from seqlore.config import Config
from seqlore.errors import DataError, SeqloreError
from seqlore.language.training_file import TrainingFile, check_file
from seqlore.text.server import Server

if TYPE_CHECKING:
    import openai
    from openai.types.fine_tuning import FineTuningJob

T = TypeVar("T")

#: A job in one of these has ended.
ENDED = ("succeeded", "failed", "cancelled")
#: And in one of these for nothing.
FAILED = ENDED[1:]


class TuningSettings(Config):
    """What is tuned, and how. None = the provider's choice."""

    model: str = Field(min_length=1, description="Name of the base model at the provider.")
    suffix: str | None = Field(default=None, max_length=64, description="Part of the tuned model's name.")
    epochs: int | None = Field(default=None, ge=1, description="Passes over the file.")
    batch_size: int | None = Field(default=None, ge=1, description="Examples a step.")
    learning_rate_multiplier: float | None = Field(
        default=None, gt=0, description="Times the provider's learning rate."
    )
    seed: int | None = Field(default=0, description="Of the job.")


@dataclass(frozen=True, slots=True)
class TuningEvent:
    """What a provider tells about a job: a message, and at some steps the losses.

    Attributes:
        time: seconds since 1970. level: "info", "warn" or "error".
        step, steps: of so many; None = not told. loss, valid_loss: mean over tokens; None = not told.
    """

    id: str
    time: int
    level: str
    message: str
    step: int | None = None
    steps: int | None = None
    loss: float | None = None
    valid_loss: float | None = None


class HostedTuning:
    """Fine-tuning jobs at one server."""

    def __init__(
        self, base_url: str | None = None, *, api_key: str | None = None, retries: int = 6, timeout: float = 600.0
    ) -> None:
        """Set up; nothing is asked of the server yet.

        Args: base_url, api_key: as for :class:`seqlore.text.server.Server`. timeout: seconds for one request.

        Raises: ConfigError: an address that is none, or no key where one is needed.
        """
        self._server = Server("hosted fine-tuning", base_url, api_key)
        self._retries, self._timeout = retries, timeout

    def tune(
        self,
        training: str | Path,
        settings: TuningSettings,
        *,
        validation: str | Path | None = None,
        on_event: Callable[[TuningEvent], None] | None = None,
        poll: float = 10.0,
    ) -> str:
        """Name of the model that was tuned on ``training``: :meth:`start` and :meth:`follow`."""
        return self.follow(self.start(training, settings, validation=validation), on_event=on_event, poll=poll)

    def start(self, training: str | Path, settings: TuningSettings, *, validation: str | Path | None = None) -> str:
        """Id of the job that tunes on ``training``: one that was begun before and has not failed, else a new one.

        Before is: with the same content, settings and server. What was begun stands in ``TRAINING.job.json``.

        Raises: DataError: a file that the provider would refuse, see :func:`check_file`. ConfigError: the server
            refuses the key, the model or the file. SeqloreError: it still fails after all retries.
        """
        files = [check_file(path) for path in (training, validation) if path is not None]
        for file in files:
            if file.faults:
                raise DataError(f"{file.path}: a provider would refuse this file: {'; '.join(file.faults)}")
        wish = [self._server.base_url, settings.model_dump(mode="json"), [file.digest for file in files]]
        state = _State(Path(f"{training}.job.json"), hashlib.sha256(json.dumps(wish).encode()).hexdigest())
        ids = [state.get(file.digest) or state.put(file.digest, self._upload(file)) for file in files]
        job = state.get("job")
        if job is None or self._retrieve(job).status in FAILED:
            job = self._made_before(ids) or self._create(ids, settings)
        return state.put("job", job)

    def follow(self, job: str, *, on_event: Callable[[TuningEvent], None] | None = None, poll: float = 10.0) -> str:
        """Name of the tuned model, once the job has succeeded.

        Args:
            job: its id, from :meth:`start` or from an earlier process.
            on_event: gets every event of the job once, the oldest first; of an earlier process's too.
            poll: seconds between two looks.

        Raises: SeqloreError: the job failed or was cancelled; the server still fails after all retries.
            DataError: the job succeeded and names no model.
        """
        seen: set[str] = set()
        while True:
            now = self._retrieve(job)  # before the events: those of a job that has ended are then all there
            for event in self._events(job, seen):
                seen.add(event.id)
                if on_event is not None:
                    on_event(event)
            if now.status in ENDED:
                break
            time.sleep(poll)
        if now.status != "succeeded":
            why = self._server.clean(" ".join((getattr(now.error, "message", None) or "no reason is given").split()))
            raise SeqloreError(f"{self._server.where}: job {job} has ended as {now.status}: {why}")
        if not now.fine_tuned_model:
            raise DataError(f"{self._server.where}: job {job} has succeeded and names no model; ask the provider")
        return now.fine_tuned_model

    def cancel(self, job: str) -> None:
        """End a job early. Raises: as :meth:`start`."""
        self._call(f"job {job}", lambda client: client.fine_tuning.jobs.cancel(job))

    @cached_property
    def _client(self) -> openai.OpenAI:
        return self._server.client("fine-tuning jobs", retries=self._retries, timeout=self._timeout)

    def _call(self, about: str, work: Callable[[openai.OpenAI], T]) -> T:
        """What ``work`` gives; the client's errors in one sentence, and nothing of it in the traceback."""
        client = self._client
        import openai

        try:
            return work(client)
        except (openai.OpenAIError, ValueError, TypeError, AttributeError) as error:
            then = "; run it again and it goes on with what was begun"
            failure = self._server.failure(error, "of this protocol", self._retries, then, about)
        raise failure

    def _upload(self, file: TrainingFile) -> str:
        with file.path.open("rb") as content:
            return self._call(str(file.path), lambda client: client.files.create(file=content, purpose="fine-tune").id)

    def _made_before(self, files: list[str]) -> str | None:
        """The job on these files that a process made and did not live to write down, and that has not failed."""
        jobs = self._call("the list of jobs", lambda client: client.fine_tuning.jobs.list(limit=100).data)
        return next((job.id for job in jobs if job.training_file == files[0] and job.status not in FAILED), None)

    def _create(self, files: list[str], settings: TuningSettings) -> str:
        chosen = {
            "n_epochs": settings.epochs,
            "batch_size": settings.batch_size,
            "learning_rate_multiplier": settings.learning_rate_multiplier,
        }
        chosen = {name: value for name, value in chosen.items() if value is not None}
        request: dict[str, Any] = {"suffix": settings.suffix, "seed": settings.seed}
        request = {name: value for name, value in request.items() if value is not None}
        request |= {"model": settings.model, "training_file": files[0]}
        request |= {"method": {"type": "supervised", "supervised": {"hyperparameters": chosen}}}
        if len(files) > 1:
            request["validation_file"] = files[1]
        # Not made again by the client: a job whose answer was lost would then be paid for twice.
        return self._call(
            f"a job for {settings.model}",
            lambda client: client.with_options(max_retries=0).fine_tuning.jobs.create(**request).id,
        )

    def _retrieve(self, job: str) -> FineTuningJob:
        def look(client: openai.OpenAI) -> FineTuningJob:
            found = client.fine_tuning.jobs.retrieve(job)
            if not isinstance(found.status, str):
                raise ValueError("no status")  # the client checks no types
            return found

        return self._call(f"job {job}", look)

    def _events(self, job: str, seen: set[str]) -> list[TuningEvent]:
        """What is not in ``seen``, the oldest first."""

        def read(client: openai.OpenAI) -> list[TuningEvent]:
            new: list[TuningEvent] = []
            for event in client.fine_tuning.jobs.list_events(job, limit=100):  # page by page, the newest first
                if event.id in seen:
                    break
                data: Any = event.data if isinstance(event.data, dict) else {}
                told = (data.get(name) for name in ("step", "total_steps", "train_loss", "valid_loss"))
                message = self._server.clean(event.message)
                new.append(TuningEvent(event.id, event.created_at, event.level, message, *told))
            return new[::-1]

        return self._call(f"job {job}", read)


class _State:
    """What was begun for one wish, in a small JSON file; an older wish's state is forgotten."""

    def __init__(self, path: Path, wish: str) -> None:
        self._path, self._known = path, {"wish": wish}
        try:
            found = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read ({type(error).__name__}); delete it to begin anew") from None
        if isinstance(found, dict) and found.get("wish") == wish:
            self._known = found

    def get(self, name: str) -> str | None:
        return self._known.get(name)

    def put(self, name: str, value: str) -> str:
        """Keep, and return, ``value``."""
        self._known[name] = value
        part = self._path.with_name(f"{self._path.name}.{os.getpid()}.partial")
        part.write_text(json.dumps(self._known, indent=2), "utf-8")
        part.replace(self._path)
        return value

"""Every error Holdfast raises, drawn as a tree. An error's `code` is stable API; its docstring is its default message.

    HoldfastError
    ├── Invalid                     what was given cannot be accepted          (invalid_*, bad_cursor …)
    │   ├── DefinitionError         an agent, tool or target is declared wrongly, found at start-up
    │   ├── NotEncodable            a value that the journal cannot hold
    │   └── Damaged                 a file of recorded runs that is not whole, or not one of ours
    ├── NotFound                    no such thing, or not yours to see
    ├── Conflict                    true at this moment, may be false later    (thread_busy, run_ended, moved_on …)
    ├── Refused                     the principal may not
    ├── Unavailable                 try again later; nothing was done          (store_unavailable, draining …)
    ├── OutcomeUnknown              it may have been done; repeat with the same Idempotency-Key
    ├── RunError                    what ends a run as failed; `code` becomes run.error.code
    │   ├── JournalMismatch         the code asked for another step than the journal holds
    │   ├── UnscopedConcurrency     ctx used from a task that ctx.gather did not make
    │   ├── StepFailed              a step ran out of attempts; recorded, raised again on replay
    │   │   ├── ChildFailed         a child run ended as failed or cancelled
    │   │   ├── CallRefused         a tool call was not made: denied, rejected, expired, or a duplicate
    │   │   ├── NotAnswered         a question was rejected, or nobody answered in time
    │   │   └── EventTimedOut       no event came in time
    │   ├── LimitReached            a limit of the run; the run can be continued with a higher one
    │   ├── OutputInvalid           the model did not produce the declared output within its retries
    │   └── ModelFault              a model provider said no, or nothing
    └── SchemaMismatch              the database's schema is older or newer than this program

    Signal (BaseException)          unwinds user code; never an outcome
    ├── Parked                      the run waits; the coroutine is let go
    ├── Cancelled                   the run was asked to stop
    ├── Restarted                   the run handed over to its successor
    ├── Released                    the process stops; another takes the run up where it stands
    └── LeaseLost                   another worker owns the run now

HTTP statuses are given to these classes in `web/problems.py` and nowhere else.
"""

from __future__ import annotations

import inspect
from typing import Any, ClassVar, Final


class HoldfastError(Exception):
    """Something went wrong in Holdfast."""

    code: str = "error"

    def __init__(self, message: str | None = None, *, code: str | None = None, **details: Any) -> None:
        self.message = message or inspect.cleandoc(type(self).__doc__ or "").split("\n", 1)[0]
        if code is not None:
            self.code = code
        self.details = details
        super().__init__(self.message)


class Invalid(HoldfastError):
    """The request cannot be accepted as it is."""

    code = "invalid"

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        errors: list[dict[str, Any]] | None = None,
        **details: Any,
    ) -> None:
        super().__init__(message, code=code, **details)
        self.errors = errors or []


class DefinitionError(Invalid):
    """An agent, a tool or a workflow is declared in a way that cannot work."""

    code = "invalid_definition"


class NotEncodable(Invalid):
    """The value cannot be stored: it is not JSON, not valid UTF-8, or too large."""

    code = "not_encodable"


class NotFound(HoldfastError):
    """There is no such resource."""

    code = "not_found"


class Conflict(HoldfastError):
    """The state of the resource does not allow this now."""

    code = "conflict"


class Refused(HoldfastError):
    """The credential does not allow this."""

    code = "forbidden"


class Unauthenticated(Refused):
    """A valid credential is needed."""

    code = "unauthenticated"


class TooLarge(Invalid):
    """The request body is larger than the server accepts."""

    code = "body_too_large"


class Damaged(Invalid):
    """The file is not a recorded run as it was exported, or not any more."""

    code = "invalid_recording"


class Unavailable(HoldfastError):
    """The server cannot do this now; nothing was done, try again."""

    code = "store_unavailable"


class OutcomeUnknown(HoldfastError):
    """It is unknown whether this was done; repeat with the same Idempotency-Key."""

    code = "outcome_unknown"


class SchemaMismatch(HoldfastError):
    """The database's schema does not fit this version of Holdfast."""

    code = "schema_mismatch"


class RunError(HoldfastError):
    """The run failed."""

    code = "run_failed"
    retryable: ClassVar[bool] = True


class UserCodeFailed(RunError):
    """User code raised an exception."""

    code = "user_code"


class JournalMismatch(RunError):
    """The code asked for another step than the journal holds at this place."""

    code = "journal_mismatch"


class JournalRejected(RunError):
    """The database refused what this run wanted to record."""

    code = "journal_rejected"


class UnscopedConcurrency(RunError):
    """The context was used from a task that ctx.gather did not make."""

    code = "unscoped_concurrency"


class StepFailed(RunError):
    """A step failed after its last attempt."""

    code = "step_failed"

    def __init__(
        self, message: str | None = None, *, code: str | None = None, error_type: str | None = None, **details: Any
    ) -> None:
        super().__init__(message, code=code, **details)
        self.error_type = error_type


class ChildFailed(StepFailed):
    """A child run did not succeed."""

    code = "child_failed"


class CallRefused(StepFailed):
    """A tool call was not made.

    Codes: `tool_denied`, `tool_disabled`, `approval_rejected`, `approval_expired`, `duplicate_effect`.
    """

    code = "tool_denied"


REFUSALS: Final = frozenset(
    {"tool_denied", "tool_disabled", "approval_rejected", "approval_expired", "duplicate_effect"}
)


class NotAnswered(StepFailed):
    """A question was not answered: `ask_rejected` or `ask_expired`."""

    code = "ask_expired"


class EventTimedOut(StepFailed, TimeoutError):
    """No such event came in time."""

    code = "event_timed_out"


class LimitReached(RunError):
    """A limit of the run is reached."""

    code = "limit_reached"


class OutputInvalid(RunError):
    """The model did not produce the declared output."""

    code = "output_invalid"


class ModelFault(RunError):
    """The model provider did not answer as needed.

    Codes: `model_rate_limited model_overloaded model_server_error model_connection model_timeout` may be retried;
    `model_auth model_rejected model_not_found model_context_window model_quota model_bad_response
    model_misconfigured` may not.
    """

    code = "model_error"

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        transient: bool = False,
        retry_after_ms: int | None = None,
        **details: Any,
    ) -> None:
        super().__init__(message, code=code, **details)
        self.transient = transient
        self.retry_after_ms = retry_after_ms


class Signal(BaseException):
    """Unwinds user code. A `BaseException`, so that `except Exception` does not swallow it."""


class Parked(Signal):
    """The run waits for something; it will run again from the top and find its steps recorded."""


class Cancelled(Signal):
    """The run was asked to stop."""


class Restarted(Signal):
    """The run ended and its successor was started."""


class Released(Signal):
    """The process stops; the run goes back to the queue and is taken up where it stands."""


class LeaseLost(Signal):
    """Another worker owns this run now; nothing more may be written."""

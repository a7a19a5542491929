"""Decides which tasks to poll now, with which requests, and when to wake next (pure).

Every polled task is due once per interval. When one is due, its request is filled with the tasks of
the same kind that are due next: they add nothing to the cost of a request that is sent anyway. So
the tasks of one kind synchronise by themselves, and the number of requests depends on the interval
and not on the number of tasks.

Modes, cheapest first:

- batch detail: up to 200 ids per request;
- the processing list: one request for all; tasks that are absent there are polled by detail;
- the list: where there is no detail endpoint, or enough tasks to make a page cheaper;
- detail: one request per task.

A mode that keeps failing is replaced by the next one that works. The replacement is tried with a
single request first: if the whole service is down, one shared request must not become hundreds of
detail requests. The cheaper mode is retried now and then.

The interval is the user's ``poll_interval``, stretched so that polls use at most their share of the
rate limit. It does not grow while a task runs: a long-running task is no less likely to end now.
Only errors back off, and they never end a wait; only its own deadline does.

A task whose start asked for webhook events is polled less often while events do arrive: polls then
only guard against a lost event. Once its event has arrived, the normal interval applies.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

from a2e_async._core.polling.polled_tasks import (
    KindQueue,
    MissOutcome,
    PolledTask,
    PollMode,
    PollRequest,
)
from a2e_async._core.tasks.kind import TaskKind
from a2e_async.errors import A2EError

NOT_FOUND_POLLS: Final = 3
"""Consecutive polls that must not find a task before it counts as gone."""
NOT_FOUND_SECONDS: Final = 120.0
"""Time (s) over which these polls must be spread.

A record can be invisible for a while after its start, and a gateway may answer "not found" for
minutes. Neither another machine's clock nor the task's age is considered.
"""

UNCONFIRMED_NOT_FOUND_SECONDS: Final = 300.0
"""The same time (s) for kinds that have no list to confirm the absence."""

FALLBACK_AFTER_FAILURES: Final = 2
"""Consecutive failures after which another mode is tried in place of the failing one."""

DISABLE_SECONDS: Final = 60.0
"""Time (s) for which a failing mode is skipped; doubled each time it fails again."""

MAX_BACKOFF: Final = 30.0
"""Maximum pause (s) after failed polls."""
DETAIL_AFTER_ABSENCES: Final = 3
"""Absences from shared responses after which a running task stays polled by detail."""

RETRY_SHARED_SECONDS: Final = 600.0
"""Time (s) after which a kind retries its shared request: one hiccup must not cost for hours."""

MAX_MISSED_EVENTS: Final = 3
"""Consecutive ends without a webhook event after which tasks are polled at the normal interval."""

DELEGATED_POLL_INTERVAL: Final = 300.0
"""Time (s) without a report from the leader after which a delegated task is polled here."""


class PollSchedule:
    """The state of all polls of one client. Times are absolute seconds; no I/O, no clock.

    ``interval`` in seconds; ``poll_rate`` in requests per second (None: unlimited); ``jitter``
    returns a number in [0, 1). ``webhook_factor``: how many intervals pass between two polls of a
    task whose webhook event is expected. ``rate_share`` returns the fraction of ``poll_rate`` that
    belongs to this client, as other clients of its account poll, too.

    Owned by the `Poller`, which is the only one to change it.
    """

    def __init__(
        self,
        *,
        interval: float,
        poll_rate: float | None,
        jitter: Callable[[], float],
        webhook_factor: float = 1.0,
        rate_share: Callable[[], float] = lambda: 1.0,
    ) -> None:
        self._interval = interval
        self._rate_share = rate_share
        self._configured_webhook_factor = webhook_factor
        self._missed_events = 0
        self._ends_without_event: dict[str, float] = {}
        """When ends were seen that no webhook event reported, by webhook id, oldest first."""
        self._tasks_by_webhook_id: dict[str, list[PolledTask]] = {}
        self._poll_rate = poll_rate
        self._jitter = jitter
        self._queues: dict[str, KindQueue] = {}
        self._follow_up_requests: list[PollRequest] = []
        self.on_dropped: Callable[[PolledTask], None] | None = None
        """Called with each task that is no longer polled."""
        self.count: int = 0
        """How many tasks are polled."""

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[PolledTask]:
        for queue in self._queues.values():
            yield from queue.polled_tasks.values()

    def get(self, kind: TaskKind[..., Any], id: str) -> PolledTask | None:
        """Return the polled task of this id, None if it is not polled."""
        queue = self._queues.get(kind.name)
        return None if queue is None else queue.polled_tasks.get(id)

    def find(self, kind: str, id: str) -> PolledTask | None:
        """Return the polled task of this id, by the name of its kind."""
        queue = self._queues.get(kind)
        return None if queue is None else queue.polled_tasks.get(id)

    def add(
        self,
        kind: TaskKind[..., Any],
        id: str,
        *,
        now: float,
        due_at: float,
        webhook_id: str | None = None,
        hinted: bool = False,
    ) -> PolledTask:
        """Begin to poll a task that is not polled yet; its first poll is due at ``due_at``.

        ``webhook_id`` identifies its start in webhook events; ``hinted``: an event has arrived
        already.
        """
        queue = self._queues.get(kind.name)
        if queue is None:
            queue = self._queues[kind.name] = KindQueue(kind)
        polled = PolledTask(kind, id, due_at, now, hinted=hinted, had_time_for_event=due_at > now)
        queue.polled_tasks[id] = polled
        self.count += 1
        self.set_webhook_id(polled, webhook_id)
        queue.push(polled)
        return polled

    def set_webhook_id(self, polled: PolledTask, webhook_id: str | None) -> None:
        """Set the id that webhook events of the task carry, unless it is known."""
        if webhook_id is not None and polled.webhook_id is None:
            polled.webhook_id = webhook_id
            self._tasks_by_webhook_id.setdefault(webhook_id, []).append(polled)
            self._queues[polled.kind.name].webhook_backed_count += polled.webhook_backed

    def drop(self, polled: PolledTask) -> None:
        """Stop polling the task; a response in flight is ignored for it."""
        if polled.dropped:
            return
        polled.dropped = True
        queue = self._queues[polled.kind.name]
        del queue.polled_tasks[polled.id]
        # The queue keeps counts, so that `interval` need not visit every task.
        queue.needs_detail_count -= polled.needs_detail
        queue.webhook_backed_count -= polled.webhook_backed
        queue.delegated_count -= polled.delegated
        self.count -= 1
        if polled.webhook_id is not None:
            named = self._tasks_by_webhook_id[polled.webhook_id]
            named.remove(polled)
            if not named:
                del self._tasks_by_webhook_id[polled.webhook_id]
        if not queue.polled_tasks:
            del self._queues[polled.kind.name]
        else:
            queue.drop_stale_entries()
        if self.on_dropped is not None:
            self.on_dropped(polled)

    def delegate(self, polled: PolledTask, now: float) -> None:
        """Let the leader poll the task; this client polls it only after a long silence."""
        if not polled.delegated:
            polled.delegated = True
            self._queues[polled.kind.name].delegated_count += 1
            self._set_needs_detail(polled, False)
        self._reschedule(polled, now + DELEGATED_POLL_INTERVAL)

    def reclaim(self, polled: PolledTask, now: float) -> None:
        """Poll a delegated task in this client again, now."""
        if polled.delegated:
            polled.delegated = False
            self._queues[polled.kind.name].delegated_count -= 1
            self._reschedule(polled, now)

    def reported_by_leader(self, polled: PolledTask, now: float) -> None:
        """The leader reported the task as not finished."""
        self._reset_failures(polled, now)
        polled.had_time_for_event = True
        self._reschedule(polled, now + DELEGATED_POLL_INTERVAL)

    def poll_now(self, polled: PolledTask, now: float) -> None:
        """Make the task due now because a wait for it is about to time out."""
        if not polled.in_flight and polled.due_at > now:
            polled.due_at = now
            self._queues[polled.kind.name].push(polled)

    def webhook_event(self, webhook_id: str, now: float) -> None:
        """Handle a webhook event of a start: poll its tasks early."""
        # One event that arrives proves that the service can reach the webhook URL.
        self._missed_events = 0
        self._ends_without_event.pop(webhook_id, None)  # late, but not lost
        for polled in self._tasks_by_webhook_id.get(webhook_id, ()):
            self.poll_early(polled, now)

    def poll_early(self, polled: PolledTask, now: float) -> None:
        """Poll the task now, as its end was reported, but at most once per interval.

        The report may be forged or too early, so the normal interval applies from here on.
        """
        queue = self._queues[polled.kind.name]
        queue.webhook_backed_count -= polled.webhook_backed
        polled.hinted = True
        if queue.mode is PollMode.PROCESSING and polled.kind.poll_endpoint is not None:
            self._set_needs_detail(polled, True)  # the processing list shows no ended tasks
        # At most one early poll per interval, however many events are replayed.
        when = max(now, polled.hinted_poll_at + self.interval())
        if when == now:
            polled.hinted_poll_at = now
        if polled.in_flight:
            polled.poll_again_at = min(polled.poll_again_at, when)
        elif when < polled.due_at:
            polled.due_at = when
            queue.push(polled)

    def record_end(self, polled: PolledTask, now: float) -> bool:
        """Stop polling a task whose end was seen; return True if events just became unreliable."""
        if (
            polled.webhook_id is not None
            and polled.webhook_backed
            and polled.had_time_for_event
            and self._configured_webhook_factor > 1
        ):
            self._ends_without_event[polled.webhook_id] = now
        self.drop(polled)
        # A poll made for another task may show an end before its event arrives.
        late = now - self._interval * self._configured_webhook_factor
        trusted = self._missed_events < MAX_MISSED_EVENTS
        while (
            self._ends_without_event
            and (oldest := next(iter(self._ends_without_event.items())))[1] <= late
        ):
            del self._ends_without_event[oldest[0]]
            self._missed_events += 1
        return trusted and self._missed_events >= MAX_MISSED_EVENTS

    def plan(self, now: float, max_requests: int = sys.maxsize) -> list[PollRequest]:
        """Return the requests to send now; their tasks are in flight until a result is reported.

        Returns at most ``max_requests``, taking kinds in turn: thousands of detail requests of one
        kind must not delay the single request that serves all tasks of another.
        """
        requests = [
            request
            for half in self._follow_up_requests
            if (request := self._prepare_follow_up(half, now))
        ]
        self._follow_up_requests = []
        queues = list(self._queues.values())
        while queues and len(requests) < max_requests:
            with_due: list[KindQueue] = []
            for queue in queues:
                first = queue.first()
                if first is not None and first.due_at <= now and len(requests) < max_requests:
                    requests.append(self._next_request(queue, now))
                    with_due.append(queue)
            queues = with_due
        return requests

    def next_wake(self) -> float | None:
        """Return when `plan` has something to do next, None while all tasks are in flight."""
        if self._follow_up_requests:
            return float("-inf")
        due_at: float | None = None
        for queue in self._queues.values():
            first = queue.first()
            if first is not None and (due_at is None or first.due_at < due_at):
                due_at = first.due_at
        return due_at

    def interval(self, *, webhook_backed: bool = False) -> float:
        """Return the current interval between two polls of a task (s).

        ``webhook_backed``: of a task whose webhook event is expected.
        """
        interval = self._interval
        if self._poll_rate:
            calls = sum(
                queue.requests_per_interval(self._webhook_factor) for queue in self._queues.values()
            )
            interval = max(interval, calls / (self._poll_rate * self._rate_share()))
        return interval * self._webhook_factor if webhook_backed else interval

    @property
    def _webhook_factor(self) -> float:
        """How many intervals currently pass between two polls of a webhook-backed task."""
        return self._configured_webhook_factor if self._missed_events < MAX_MISSED_EVENTS else 1.0

    # -- poll results --------------------------------------------------------------------

    def request_succeeded(self, request: PollRequest, now: float) -> None:
        """The request succeeded. A mode that was tried in place of another now replaces it."""
        queue = self._queues.get(request.kind.name)
        if queue is None:
            return
        queue.last_worked_at[request.mode] = now
        queue.disabled_seconds.pop(request.mode, None)
        queue.failed_replacements.clear()
        if request.replaces is not None:
            self._disable_mode(queue, request.replaces, now)

    def record_unfinished(self, polled: PolledTask, request: PollRequest, now: float) -> None:
        """The response contained the record, and it is not terminal: poll again later."""
        self._reset_failures(polled, now)
        if request.confirms_absence:  # the list shows a task that the other modes do not
            others = [mode for mode in PollMode if mode is not PollMode.LIST]
            self._queues[polled.kind.name].disabled_until.update(
                dict.fromkeys(others, now + RETRY_SHARED_SECONDS)
            )
        if request.mode is not PollMode.DETAIL:
            polled.absent_count = 0
        elif polled.needs_detail and polled.absent_count < DETAIL_AFTER_ABSENCES:
            self._set_needs_detail(polled, False)
        elif polled.needs_detail:
            self._return_to_shared_request(self._queues[polled.kind.name], now)
        self._requeue_after_interval(polled, request, now)

    def record_inconclusive(self, polled: PolledTask, request: PollRequest, now: float) -> None:
        """The response is valid but cannot tell whether the service knows the task: poll again."""
        self._reset_failures(polled, now)
        self._requeue_after_interval(polled, request, now)

    def record_absent(self, polled: PolledTask, request: PollRequest, now: float) -> MissOutcome:
        """The response should have contained the record and did not.

        After a shared request the task is polled by detail, at once. It is given up once several
        consecutive responses, spread over some minutes, did not know it and the list confirms that.
        """
        polled.error_count, polled.last_error, polled.last_success_at = 0, None, now
        if request.confirms_absence:
            return MissOutcome.GIVE_UP
        if request.mode is not PollMode.DETAIL and self._queues[polled.kind.name].can_poll_detail:
            self._poll_by_detail(polled, now)
            return MissOutcome.POLL_DETAIL
        # The first of the consecutive misses: the time over which they are spread counts from here.
        if not polled.not_found_count:
            polled.not_found_since = now
        polled.not_found_count += 1
        listed = polled.kind.list is not None
        min_seconds = NOT_FOUND_SECONDS if listed else UNCONFIRMED_NOT_FOUND_SECONDS
        if polled.not_found_count < NOT_FOUND_POLLS or now - polled.not_found_since < min_seconds:
            self._requeue_after_interval(polled, request, now)
            return MissOutcome.POLL_AGAIN
        if not listed:
            return MissOutcome.GIVE_UP
        self._follow_up_requests.append(
            PollRequest(polled.kind, PollMode.LIST, [polled], now, confirms_absence=True)
        )
        return MissOutcome.POLL_AGAIN

    def request_failed(self, request: PollRequest, error: A2EError, now: float) -> None:
        """The request failed: poll again after a growing, jittered pause, maybe in another mode."""
        tries = 1 + max((w.error_count for w in request.polled_tasks), default=0)
        # The exponent is capped: a float overflows after about a thousand failures.
        bound = min(MAX_BACKOFF, self._interval * 2.0 ** min(tries, 16))
        # Never sooner than without the error: the rate share also applies while the service fails.
        pause = max(self.interval(), bound * (0.5 + 0.5 * self._jitter()))
        for polled in request.polled_tasks:
            if polled.dropped:
                continue
            polled.error_count += 1
            polled.last_error = error
            polled.not_found_count = 0
            polled.poll_again_at = float("inf")
            self._requeue(polled, now + pause)
        self._try_replacement(request, tries)

    def record_unreadable(
        self, polled: PolledTask, request: PollRequest, error: A2EError, now: float
    ) -> None:
        """The response is valid except for this record: poll it by detail, or later."""
        if request.mode is not PollMode.DETAIL and self._queues[polled.kind.name].can_poll_detail:
            self._poll_by_detail(polled, now)
            polled.error_count += 1
            polled.last_error = error
        else:
            self.request_failed(
                PollRequest(request.kind, request.mode, [polled], request.planned_at), error, now
            )

    def poll_each_by_detail(self, request: PollRequest, now: float) -> bool:
        """Poll each task by detail after a shared request was refused; return False if impossible.

        The refusal of a shared request says nothing about a single task.
        """
        queue = self._queues.get(request.kind.name)
        if request.mode is PollMode.DETAIL or queue is None or not queue.can_poll_detail:
            return False
        for polled in request.polled_tasks:
            if not polled.dropped:
                self._poll_by_detail(polled, now)
        return True

    def split(self, request: PollRequest) -> None:
        """Send a refused shared request again in halves, until the offending id is alone."""
        # Halving finds one offending id among 200 with about 16 requests instead of 200.
        middle = -(-len(request.polled_tasks) // 2)
        for half in (request.polled_tasks[:middle], request.polled_tasks[middle:]):
            self._follow_up_requests.append(
                PollRequest(request.kind, request.mode, half, request.planned_at)
            )

    def poll_list_instead(self, request: PollRequest) -> None:
        """Read the list at once, for a kind whose refused shared request has no detail endpoint."""
        self._follow_up_requests.append(
            PollRequest(request.kind, PollMode.LIST, request.polled_tasks, request.planned_at)
        )

    # -- internals -----------------------------------------------------------------------

    def _next_request(self, queue: KindQueue, now: float) -> PollRequest:
        if queue.disabled_until:
            queue.disabled_until = {
                mode: until for mode, until in queue.disabled_until.items() if until > now
            }
        mode, instead_of = queue.mode, None
        first = queue.pop()
        tried = queue.trial is not None
        if queue.trial is not None:
            (mode, instead_of), queue.trial = queue.trial, None
        elif first.needs_detail and queue.can_poll_detail:
            mode = PollMode.DETAIL
        if mode is PollMode.DETAIL:
            return PollRequest(queue.kind, mode, [first], now, instead_of)
        most = queue.kind.max_batch_size if mode is PollMode.BATCH else len(queue.polled_tasks)
        # Tasks that need their detail request are taken out of the way and put back afterwards.
        kept: list[PolledTask] = []
        chosen = [first]
        if len(queue.polled_tasks) <= most and not queue.needs_detail_count:
            chosen += queue.pop_all()
        while len(chosen) < most and queue.first() is not None:
            polled = queue.pop()
            (kept if polled.needs_detail and not tried else chosen).append(polled)
        for polled in kept:
            polled.in_flight = False
            queue.push(polled)
        if mode is PollMode.BATCH and len(chosen) == 1 and not tried and queue.can_poll_detail:
            mode = PollMode.DETAIL
        return PollRequest(queue.kind, mode, chosen, now, instead_of)

    def _prepare_follow_up(self, request: PollRequest, now: float) -> PollRequest | None:
        request.polled_tasks = [w for w in request.polled_tasks if not w.dropped]
        request.planned_at = now
        if not request.polled_tasks or request.confirms_absence:
            return request if request.polled_tasks else None
        one_by_one = len(request.polled_tasks) == 1 or request.mode is not PollMode.BATCH
        if not one_by_one or request.kind.poll_endpoint is None:
            return request
        # Counts as an absence; otherwise a request that is always refused would be retried for
        # ever.
        for polled in request.polled_tasks:
            polled.absent_count += 1
            self._set_needs_detail(polled, True)
        for polled in request.polled_tasks[1:]:
            self._requeue(polled, now)
        return PollRequest(request.kind, PollMode.DETAIL, request.polled_tasks[:1], now)

    def _try_replacement(self, request: PollRequest, failures: int) -> None:
        """Try another mode in place of one that keeps failing."""
        queue = self._queues.get(request.kind.name)
        # A confirmation is sent once; a disabled mode has its replacement already.
        if queue is None or request.confirms_absence or request.mode in queue.disabled_until:
            return
        failing = request.replaces
        if failing is not None:
            queue.failed_replacements.append(request.mode)
        # A mode that was disabled before needs only one more failure.
        elif failures >= FALLBACK_AFTER_FAILURES or request.mode in queue.disabled_seconds:
            other = queue.choose_mode(
                (request.mode, *queue.disabled_until, *queue.failed_replacements)
            )
            if other is None:
                queue.failed_replacements.clear()
            else:
                # A mode that works for other tasks is not replaced: it fails because of this task.
                since = max(polled.last_success_at for polled in request.polled_tasks)
                works = queue.last_worked_at.get(request.mode, float("-inf")) > since
                queue.trial = other, None if works else request.mode

    def _disable_mode(self, queue: KindQueue, failing: PollMode, now: float) -> None:
        """Skip a failing mode for a while; poll soon in another one, spread over an interval."""
        if failing in queue.disabled_until:
            return
        span = queue.disabled_seconds[failing] = min(
            2 * queue.disabled_seconds.get(failing, DISABLE_SECONDS / 2), RETRY_SHARED_SECONDS
        )
        queue.disabled_until[failing] = now + span
        waiting = [w for w in queue.polled_tasks.values() if w.error_count and not w.in_flight]
        step = self.interval() / max(1, len(waiting)) if queue.mode is PollMode.DETAIL else 0.0
        for index, polled in enumerate(waiting):
            if now + step * index < polled.due_at:
                polled.due_at = now + step * index
                queue.push(polled)

    def _reset_failures(self, polled: PolledTask, now: float) -> None:
        polled.error_count = polled.not_found_count = 0
        polled.last_error, polled.last_success_at = None, now

    def _poll_by_detail(self, polled: PolledTask, now: float) -> None:
        polled.absent_count += 1
        self._set_needs_detail(polled, True)
        self._requeue(polled, now)

    def _return_to_shared_request(self, queue: KindQueue, now: float) -> None:
        """Now and then let the whole kind retry the shared request: it serves all tasks at once."""
        if queue.retry_shared_at is None:
            queue.retry_shared_at = now + RETRY_SHARED_SECONDS
        elif now >= queue.retry_shared_at:
            queue.retry_shared_at = None
            for polled in queue.polled_tasks.values():
                polled.absent_count = min(polled.absent_count, DETAIL_AFTER_ABSENCES - 1)
                self._set_needs_detail(polled, False)

    def _set_needs_detail(self, polled: PolledTask, needs_detail: bool) -> None:
        if polled.needs_detail is not needs_detail and not polled.dropped:
            polled.needs_detail = needs_detail
            self._queues[polled.kind.name].needs_detail_count += 1 if needs_detail else -1

    def _requeue_after_interval(self, polled: PolledTask, request: PollRequest, now: float) -> None:
        # The interval counts from when the request was planned, so that it stays constant. The next
        # request must not follow at once even if this one took longer than the interval.
        if polled.delegated:
            interval = DELEGATED_POLL_INTERVAL
        else:
            if request.interval is None:
                request.interval = self.interval()
            interval = request.interval
            if polled.webhook_id is not None and polled.webhook_backed:
                interval *= self._webhook_factor
        self._requeue(polled, max(request.planned_at + interval, now + interval / 4))

    def _requeue(self, polled: PolledTask, due_at: float) -> None:
        if polled.dropped:
            return
        polled.in_flight = False
        polled.due_at, polled.poll_again_at = min(due_at, polled.poll_again_at), float("inf")
        self._queues[polled.kind.name].push(polled)

    def _reschedule(self, polled: PolledTask, due_at: float) -> None:
        """Set the due time; for a task in flight the result of its request decides instead."""
        if not polled.in_flight:
            polled.due_at = due_at
            self._queues[polled.kind.name].push(polled)

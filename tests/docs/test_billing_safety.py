"""Each row of the page on billing safety has a test."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

MONEY = "client/test_money.py"
CANCEL = "client/test_cancel_start.py"
KEYS = "client/test_keys.py"
FOUND = "client/test_recovery.py"
WAIT = "client/test_wait.py"
DOWNLOADS = "files/test_download.py"
KEPT = "batch/test_journaled.py"
BATCH = "batch/test_batch.py"
BUDGET = "batch/test_budget.py"
CALLS = "batch/test_budget_calls.py"
CRASH = "batch/test_crash.py"
WAITS = "laws/test_waits.py"
OWNERS = "journal/test_processes.py"

# By the beginning of the row. If a journal changes the behaviour, the last test uses one.
ROWS = {
    "an input is invalid": ["pure/test_inputs.py::test_what_is_not_declared_is_refused"],
    "the service refuses the start": [
        f"{MONEY}::test_refused",
        f"{MONEY}::test_insufficient_coins",
        f"{KEPT}::test_a_refused_start_is_dropped",
    ],
    "the service cannot be reached": [f"{MONEY}::test_connection_refused"],
    "the service is busy": [f"{MONEY}::test_paced"],
    "the start would exceed a budget": [
        f"{BUDGET}::test_a_start_beyond_it_is_not_sent",
        f"{CALLS}::test_uploads_are_not_paid_for_a_start_that_does_not_fit",
        f"{BUDGET}::test_a_batch_counts_over_all_its_runs",
    ],
    "… because of the length of an uploaded file": [
        f"{CALLS}::test_the_price_may_depend_on_the_duration"
    ],
    "another paid call": [f"{CALLS}::test_a_full_budget_refuses_every_call"],
    "the start must wait for a slot": [
        "client/test_callers.py::test_no_more_than_the_cap",
        "client/test_callers.py::test_refused_at_once",
        "client/test_callers.py::test_after_a_restart",
    ],
    "the journal cannot be written": [f"{KEPT}::test_a_journal_that_cannot_be_written"],
    "an input is a local file": [
        "files/test_upload.py::test_same_content_once",
        f"{CALLS}::test_a_batch_counts_its_uploads",
    ],
    "the response to the upload": [f"{MONEY}::test_presign_lost"],
    "your code is cancelled before": [
        f"{CANCEL}::test_every_turn",
        f"{KEPT}::test_a_withdrawn_start_is_dropped",
    ],
    "… and after that": [
        f"{CANCEL}::test_ways_to_cancel",
        "client/test_dropped.py::test_a_lost_answer_after_cancellation",
        f"{KEPT}::test_unfinished_after_a_restart",
    ],
    "the client is closed during a start": [f"{CANCEL}::test_close_lets_starts_finish"],
    "the same `key` is started again": [
        f"{KEYS}::test_same_key",
        f"{KEPT}::test_a_key_has_one_task_forever",
    ],
    "… with different inputs": [
        f"{KEYS}::test_key_conflict",
        f"{KEPT}::test_a_key_has_one_task_forever",
    ],
    "the task is found in the kind's list": [
        f"{FOUND}::test_found",
        f"{KEPT}::test_a_lost_start_is_found_by_the_next_client",
    ],
    "the task is not found": [
        f"{FOUND}::test_candidates",
        f"{FOUND}::test_recover_later",
        f"{KEPT}::test_the_same_key_searches_again",
    ],
    "the kind has no list": [f"{FOUND}::test_without_a_list"],
    "the task is proved absent": [
        f"{KEPT}::test_absence_is_not_proved_if_no_name_was_shown",
        f"{KEPT}::test_resubmitting_after_proved_absence",
    ],
    "a paid call that starts no task": [
        "client/test_speech.py::test_lost",
        f"{KEPT}::test_paid_calls_that_are_no_tasks",
        "cli/test_journal_settle.py::test_a_call_without_a_task_is_shown_and_closed",
    ],
    "a lost start is never found": [
        "cli/test_journal_settle.py::test_unpaid_frees_the_key",
        "cli/test_journal_settle.py::test_paid_keeps_the_key_from_paying_again",
        "cli/test_journal_settle.py::test_a_task_that_was_found_by_hand",
    ],
    "a batch was killed after it recorded": [
        "cli/test_batch.py::test_what_never_arrived_is_sent_again_when_allowed",
        "cli/test_journal_settle.py::test_unpaid_frees_the_key",
    ],
    "… or its caller is cancelled": [
        "client/test_speech.py::test_cancelled_after_it_was_sent",
        f"{KEPT}::test_a_paid_call_outlives_its_caller",
    ],
    "a task handle is dropped": [
        "client/test_dropped.py::test_a_dropped_handle_is_unclaimed",
        f"{KEPT}::test_unfinished_after_a_restart",
    ],
    "your wait times out": [f"{WAIT}::test_timeout_zero", f"{WAIT}::test_stuck"],
    "polling the task keeps failing": [
        f"{WAITS}::test_an_answer_that_says_nothing_ends_no_wait",
        f"{WAITS}::test_trouble_without_end_ends_a_wait_at_its_timeout",
        f"{WAITS}::test_the_apis_own_refusal_ends_the_wait_that_it_is_about",
    ],
    "the task is completed but its result": [
        f"{WAITS}::test_a_result_that_is_late_is_waited_for",
        f"{WAITS}::test_a_result_that_stays_out_leaves_the_task_open",
    ],
    "the service reports the task as failed": [
        f"{BATCH}::test_one_failure_leaves_the_others_alone",
        f"{KEPT}::test_a_failed_task_is_no_longer_open",
    ],
    "… after some of its outputs succeeded": [
        "batch/test_partly_failed.py::test_it_is_unfinished_until_its_good_outputs_are_saved",
        "batch/test_partly_failed.py::test_a_batch_without_a_journal_saves_them",
    ],
    "… in a batch with `retry_failed`": [f"{BATCH}::test_retry_failed_starts_failed_tasks_again"],
    "the result URL has expired": [f"{DOWNLOADS}::test_expired_is_renewed_and_goes_on"],
    "a download is interrupted": [f"{DOWNLOADS}::test_cut_many_times_resumes_at_the_byte"],
    "the disk fails": [f"{DOWNLOADS}::test_disk_errors", f"{BATCH}::test_a_disk_that_fails"],
    "before any byte of a start was sent": [f"{CRASH}::test_killed_at_a_step"],
    "while a start was in flight": [f"{CRASH}::test_killed_at_a_step"],
    "while a task was awaited": [f"{CRASH}::test_killed_at_random"],
    "… less than 30 s ago": [
        f"{OWNERS}::test_entries_of_a_killed_owner_are_acquired",
        "journal/test_processes.py::test_a_killed_process_loses_its_entries_at_once",
    ],
    "two processes run the same batch": [
        f"{BATCH}::test_two_clients_share_one_batch",
        "batch/test_many.py::test_two_clients_one_dies",
        f"{OWNERS}::test_a_key_begins_in_one_process",
    ],
}


def rows_of_page() -> list[str]:
    """Return the first cell of each row of the page."""
    rows = re.findall(r"^\| (.+?) \|", (ROOT / "docs/billing-safety.md").read_text(), re.MULTILINE)
    return [row for row in rows if row != "when"]


@cache
def names_in(file: str) -> set[str]:
    """Return the names of a file's tests."""
    tree = ast.parse((ROOT / "tests" / file).read_text())
    return {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_row_has_its_test() -> None:
    """Every row has a test, and every test has a row."""
    rows = rows_of_page()
    assert len(rows) == len(ROWS)
    for row in rows:
        assert sum(row.startswith(begin) for begin in ROWS) == 1, row


@pytest.mark.parametrize("test", sorted({test for tests in ROWS.values() for test in tests}))
def test_it_is_there(test: str) -> None:
    """The test that a row names still exists."""
    file, _, name = test.partition("::")
    assert name in names_in(file)

"""Faults of processes, ports and what outlives them."""

from __future__ import annotations

from tests.mutants import SourceMutant

ORPHANS = "tests/jobs/test_orphans.py::"
FIRST_MILLISECONDS = ORPHANS + "test_a_starter_killed_in_the_first_milliseconds_of_its_fork_leaves_nothing"
DEAD_BEFORE = ORPHANS + "test_a_fork_whose_starter_died_before_its_first_line_ends"

MUTANTS: tuple[SourceMutant, ...] = (
    SourceMutant(
        "web-fork-outlives-its-server",
        "pwserver/webserver.py",
        """    die_with_parent(parent)
    Thread(target=exit_after_parent, args=[parent, KILL_SECONDS], name="parent", daemon=True).start()
""",
        "    die_with_parent(os.getppid())\n",
        f"{DEAD_BEFORE}[web]",
    ),
    SourceMutant(
        "parent-not-compared",
        "pwserver/orphans.py",
        "    if os.getppid() != parent:\n        os._exit(1)\n",
        "",
        f"{DEAD_BEFORE}[supervisor]",
    ),
    SourceMutant(
        "inherited-handler-swallows-the-signal",
        "pwserver/orphans.py",
        "    signal.signal(signal.SIGTERM, on_sigterm)\n",
        "",
        f"{FIRST_MILLISECONDS}[crew]",
    ),
    SourceMutant(
        "no-end-after-a-lost-signal",
        "pwserver/orphans.py",
        "    time.sleep(seconds)\n    os._exit(1)\n",
        "",
        ORPHANS + "test_a_fork_that_is_deaf_to_the_signal_ends_all_the_same",
    ),
    SourceMutant(
        "parent-read-after-the-fork",
        "jobs/worker.py",
        "die_with_parent(self.worker_pid, ",
        "die_with_parent(os.getppid(), ",
        ORPHANS + "test_a_run_whose_worker_died_before_its_first_line_is_not_begun",
    ),
    SourceMutant(
        "leftovers-stay",
        "pwserver/supervisor.py",
        "        self._end_leftovers()\n",
        "",
        "tests/jobs/test_supervisor.py::test_kill_9_of_the_supervisor_takes_everything_along_and_the_next_start_works",
    ),
    SourceMutant(
        "leftovers-of-others-are-ended",
        "pwserver/orphans.py",
        'f"{MARK}={mark}".encode() in environment',
        "any(each.startswith(MARK.encode()) for each in environment)",
        ORPHANS + "test_only_the_web_server_of_the_same_lock_and_user_is_a_leftover",
    ),
    SourceMutant(
        "page-read-in-the-middle-of-a-swap",
        "tests/story/chromium.py",
        """        text, kept = self._until(WHOLE)
""",
        """        self._until(WHOLE)
        text, kept = _while_it_stands(lambda: (self.tab.content(), []))
""",
        "tests/story/test_reading.py::test_a_row_is_never_read_in_the_middle_of_a_swap",
    ),
    SourceMutant(
        "page-read-before-it-settled",
        "tests/story/chromium.py",
        ".pw-later, .htmx-swapping, .htmx-settling, .htmx-added",
        ".pw-later",
        "tests/story/test_reading.py::test_a_row_is_never_read_in_the_middle_of_a_swap",
    ),
)

"""What it costs a turn of the enforcer to record an incident with its chain."""

import os
import signal
import statistics
import time

import waiters
from measuring import ask, connect, execute, progress

PID = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_unblock enforcer'"
ENDED = "SELECT NOT EXISTS (SELECT FROM unblock.incidents_in_memory() WHERE outcome IS NULL)"
STAT = "SELECT value FROM unblock.stats WHERE counter = '{}'"


def set_report_after(observer, enforcer, value, condition):
    """Wakes the enforcer alone."""
    execute(observer, "ALTER SYSTEM SET pg_unblock.report_after = '{}'".format(value))
    os.kill(enforcer, signal.SIGHUP)
    time.sleep(0.02)  # its turn, undisturbed
    waiters.wait_until(observer, condition, pause=0.002)


def samples(observer, count):
    """Of one episode that begins again and again: the time of the turn that recorded it, in µs."""
    enforcer = ask(observer, PID)
    found = []
    for _ in range(count):
        episodes = ask(observer, STAT.format("episodes"))
        begun = "SELECT ({}) > {}".format(STAT.format("episodes"), episodes)
        set_report_after(observer, enforcer, "100ms", begun)
        found.append(
            (
                ask(observer, STAT.format("record_time_last")),
                ask(observer, STAT.format("look_time_last")),
            )
        )
        set_report_after(observer, enforcer, "0", ENDED)
    return found


def bench_record(plan, targets):
    observer = connect()
    title = "An incident with its chain, {} times".format(plan.records)
    print("\n{:<44}{:>12}{:>20}{:>20}".format(title, "median", "maximum", "the look itself"))
    for count in 5, 20, 100, 1000:
        progress("Recording, {} waiters".format(count))
        with waiters.crowd(observer) as members:
            waiters.table_queue(members, count - 1)
            samples(observer, plan.records // 10 + 1)  # warms up
            found = samples(observer, plan.records)
        times = [record for record, _ in found]
        looks = [look for _, look in found]
        print(
            "  {:<42}{:>9.0f} us{:>17.0f} us{:>17.0f} us".format(
                "{} sessions wait".format(count), statistics.median(times), max(times), statistics.median(looks)
            ),
            flush=True,
        )
        if count == 20:
            targets.at_most("recording an incident with 20 waiters", statistics.median(times), 50, " us")
    execute(observer, "ALTER SYSTEM RESET pg_unblock.report_after", "SELECT pg_reload_conf()")

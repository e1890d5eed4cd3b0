"""Our reports beside the reference: each property is a function that yields what is wrong."""

from collections import Counter, defaultdict


def pairs(reference, picture):
    """blocking_edges: the blockers of each session are those of pg_blocking_pids()."""
    ours = defaultdict(set)
    for edge in picture["edges"]:
        ours[edge["waiter_pid"]].add(edge["blocker_pid"])
    theirs = {node: {reference.pid(b) for b in blockers} for node, blockers in reference.blockers.items()}
    for node in set(ours) | set(theirs):
        if ours[node] != theirs.get(node, set()):
            yield "{}: blockers {}, not {}".format(node, sorted(theirs.get(node, ())), sorted(ours[node]))


def prepared(reference, picture):
    """blocking_edges: as many prepared blockers of each session as pg_blocking_pids() has zeros."""
    ours = Counter(edge["waiter_pid"] for edge in picture["edges"] if edge["kind"] == "prepared")
    for wait in reference.waits:
        zeros = reference.told[wait.pid].count(0)
        if reference.alone(wait.node) and zeros != ours[wait.node]:
            yield "{}: {} prepared blockers, not {}".format(wait.pid, zeros, ours[wait.node])


def edge_row(reference, wait, blocker, kind, mode):
    return wait.node, reference.pid(blocker), kind, wait.locktype, wait.mode, mode


def hard_kind(blocker):
    return "prepared" if isinstance(blocker, str) else "holds"


def edges(reference, picture):
    """blocking_edges: kind, lock and modes are those of pg_locks; one row for each pair and lock."""
    columns = "waiter_pid", "blocker_pid", "kind", "locktype", "mode_wanted", "mode_held"
    ours = Counter(tuple(edge[column] for column in columns) for edge in picture["edges"])
    hard = Counter()
    distinct = {(wait.node, wait.tag, wait.mode): wait for wait in reference.waits}
    for wait in distinct.values():
        hard.update(edge_row(reference, wait, b, hard_kind(b), mode) for b, mode in wait.hard.items())
        if reference.alone(wait.node):
            for blocker in reference.blockers[wait.node] - set(wait.hard):
                rows = [
                    edge_row(reference, wait, blocker, "queued", mode)
                    for mode in reference.queued_modes(wait, blocker)
                ]
                if sum(ours[row] for row in rows) != 1:
                    yield "not once: {}".format(" or ".join(map(str, rows)) or (wait.pid, blocker))
    for row in hard:
        if hard[row] != ours[row]:
            yield "{} times, not {}: {}".format(hard[row], ours[row], row)
    for row in ours:
        if row[2] != "queued":
            wrong = row not in hard
        else:
            wrong = not any(
                row[1] not in wait.hard and row[5] in reference.queued_modes(wait, row[1])
                for wait in reference.waits_of[row[0]]
                if (wait.locktype, wait.mode) == row[3:5]
            )
        if wrong:
            yield "without cause: {}".format(row)


def waits(reference, picture):
    """lock_waits: one row for each waiting process, its lock, the number of its blockers and one of them."""
    ours = {row["pid"]: row for row in picture["waits"]}
    if len(ours) != len(picture["waits"]) or set(ours) != {wait.pid for wait in reference.waits}:
        yield "rows for {}".format([row["pid"] for row in picture["waits"]])
        return
    for wait in reference.waits:
        row = ours[wait.pid]
        blockers = reference.blockers[wait.node]
        leader = None if wait.node == wait.pid else wait.node
        if (row["leader_pid"], row["locktype"], row["mode_wanted"]) != (leader, wait.locktype, wait.mode):
            yield "{}: leader, lock, mode not those of pg_locks".format(wait.pid)
        if reference.alone(wait.node):
            if row["blocker_count"] != len(blockers):
                yield "{}: {} blockers, not {}".format(wait.pid, len(blockers), row["blocker_count"])
        elif not len(wait.hard) <= row["blocker_count"] <= len(blockers):
            yield "{}: {} blockers".format(wait.pid, row["blocker_count"])
        roots = sorted(map(reference.pid, reference.roots_of(wait.node)))
        if sorted(row["root_pids"]) != roots:
            yield "{}: roots {}, not {}".format(wait.pid, roots, sorted(row["root_pids"]))
        yield from primary(reference, wait, row, ours)


def primary(reference, wait, row, rows):
    """A hard blocker that frees most, or the first that is in front in the queue."""
    named = row["blocker_pid"], row["blocker_kind"], row["mode_held"]
    if wait.hard:
        most = max(map(reference.frees, wait.hard))
        good = {
            (reference.pid(blocker), hard_kind(blocker), mode)
            for blocker, mode in wait.hard.items()
            if reference.frees(blocker) == most
        }
        if named not in good:
            yield "{}: primary blocker {}, not among {}".format(wait.pid, named, good)
        return
    if row["blocker_count"] == 0:
        if named != (None, None, None):
            yield "{}: primary blocker {} of nobody".format(wait.pid, named)
        return
    ahead = [
        rows[other.pid]
        for node in reference.blockers[wait.node]
        for other in reference.waits_of[node]
        if other.tag == wait.tag and other.mode in reference.queued_modes(wait, node)
    ]
    first = min(ahead, key=lambda other: other["queue_position"])
    if first["queue_position"] >= row["queue_position"]:
        yield "{}: stands before all its blockers".format(wait.pid)
    if named != (first["leader_pid"] or first["pid"], "queued", first["mode_wanted"]):
        yield "{}: primary blocker {}, not {}".format(wait.pid, named, first["pid"])


def queues(reference, picture):
    """lock_waits: positions in each queue count from 1."""
    positions = defaultdict(list)
    tags = {wait.pid: wait.tag for wait in reference.waits}
    for row in picture["waits"]:
        positions[tags.get(row["pid"])].append(row["queue_position"])
    for tag, found in positions.items():
        if sorted(found) != list(range(1, len(found) + 1)):
            yield "{}: positions {}".format(tag, sorted(found))


def node_of_row(row):
    return row["gid"] if row["pid"] == 0 else row["pid"]


def counts(reference, rows):
    for row in rows:
        node = node_of_row(row)
        ours = row["direct_waiters"], row["blocked_total"], row["frees"]
        if node in reference.nodes and ours != reference.counts(node):
            yield "{}: direct_waiters, blocked_total, frees {}, not {}".format(node, reference.counts(node), ours)


def chains(reference, picture):
    """blocking_chains: every session once, below its primary blocker, with its counts."""
    rows = picture["chains"]
    listed = [node_of_row(row) for row in rows]
    if Counter(listed) != Counter(reference.nodes):
        yield "sessions {}, not {}".format(sorted(map(str, reference.nodes)), sorted(map(str, listed)))
        return
    yield from counts(reference, rows)
    above = []  # rows from the top to the one before
    for row in rows:
        node = node_of_row(row)
        if row["in_cycle"] != reference.in_cycle(node):
            yield "{}: in_cycle {}".format(node, row["in_cycle"])
        if row["depth"] > len(above):
            yield "{}: depth {} below {}".format(node, row["depth"], len(above))
            return
        del above[row["depth"] :]
        if row["path"] != [reference.pid(node_of_row(other)) for other in above] + [row["pid"]]:
            yield "{}: path {}".format(node, row["path"])
        if above:
            if node_of_row(above[-1]) not in reference.blockers.get(node, ()):
                yield "{}: below {}, which does not block it".format(node, above[-1]["pid"])
            if row["blocker_pid"] != above[-1]["pid"] or row["chain_id"] != above[-1]["chain_id"]:
                yield "{}: blocker {} in chain {}".format(node, row["blocker_pid"], row["chain_id"])
        elif not (reference.is_root(node) or reference.in_cycle(node) or not reference.blockers[node]):
            yield "{}: at the top of a chain".format(node)
        yield from other_blockers(reference, node, row)
        above.append(row)


def other_blockers(reference, node, row):
    """The primary blocker and up to ten more are blockers, each once."""
    named = row["other_blockers"] + ([] if row["blocker_pid"] is None else [row["blocker_pid"]])
    theirs = Counter(map(reference.pid, reference.blockers.get(node, ())))
    if Counter(named) - theirs:
        yield "{}: blockers {} named, are {}".format(node, named, sorted(theirs.elements()))
    if reference.alone(node) and len(named) != min(11, theirs.total()):
        yield "{}: {} blockers named".format(node, len(named))


def roots(reference, picture):
    """root_blockers: every session that blocks and does not wait, with its counts."""
    rows = picture["roots"]
    theirs = Counter(filter(reference.is_root, reference.nodes))
    listed = Counter(map(node_of_row, rows))
    if listed != theirs:
        yield "roots {}, not {}".format(sorted(map(str, theirs)), sorted(map(str, listed.elements())))
        return
    yield from counts(reference, rows)
    order = [(-row["blocked_total"], -row["frees"]) for row in rows]
    if order != sorted(order):
        yield "not the worst first: {}".format(order)


PROPERTIES = [pairs, prepared, edges, queues, waits, chains, roots]

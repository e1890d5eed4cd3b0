"""Who waits for whom by the reference, and what follows from it, slow and plain.

A node is a session, by the pid of its parallel group's leader, or a prepared
transaction, by its gid. pg_blocking_pids() says 0 for all prepared
transactions: which ones these are, and by which lock and mode anybody is
blocked, is read from pg_locks and the manual's table of conflicts.
"""

from collections import Counter, defaultdict

MODES = [
    "AccessShareLock",
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
]

# The manual, "Conflicting Lock Modes": a row for each mode in the order above.
CONFLICTS = {
    mode: {MODES[i] for i, cell in enumerate(row) if cell == "X"}
    for mode, row in zip(
        MODES,
        (
            ".......X",
            "......XX",
            "....XXXX",
            "...XXXXX",
            "..XX.XXX",
            "..XXXXXX",
            ".XXXXXXX",
            "XXXXXXXX",
        ),
    )
}


def strongest(modes):
    return max(modes, key=MODES.index)


def in_the_way(locktype, wanted, held):
    return "{}: {} wanted, {} held".format(locktype, wanted, held)


class Wait:
    """A process that awaits a lock."""

    def __init__(self, pid, node, lock):
        self.pid = pid
        self.node = node
        self.tag = lock["tag"]
        self.locktype = lock["locktype"]
        self.mode = lock["mode"]
        self.xid = lock["xid"]
        self.hard = {}  # node: strongest conflicting mode that it holds


class Reference:
    def __init__(self, picture):
        self.processes = {process["pid"]: process for process in picture["processes"]}
        self.gids = dict(picture["prepared"])
        self.locks = picture["locks"]
        self.waits = [Wait(lock["pid"], self.node(lock), lock) for lock in self.locks if not lock["granted"]]
        for wait in self.waits:
            wait.hard = self.hard_blockers(wait)
        self.waits_of = defaultdict(list)
        for wait in self.waits:
            self.waits_of[wait.node].append(wait)
        self.told = {pid: pids for pid, pids in picture["reference"]}
        self.blockers = {node: self.blockers_of(waits) for node, waits in self.waits_of.items()}
        self.waiters = defaultdict(set)
        for node, blockers in self.blockers.items():
            for blocker in blockers:
                self.waiters[blocker].add(node)
        self.nodes = set(self.blockers) | set(self.waiters)
        self.reach = {node: self.search({node}) for node in self.nodes}
        self.starts = {node for node in self.nodes if self.is_start(node)}

    def node(self, lock):
        return self.gids[lock["transaction"]] if lock["pid"] is None else self.leader(lock["pid"])

    def leader(self, pid):
        return self.processes[pid]["leader"]

    @staticmethod
    def pid(node):
        return 0 if isinstance(node, str) else node

    def hard_blockers(self, wait):
        held = defaultdict(set)
        for lock in self.locks:
            if lock["tag"] == wait.tag and lock["granted"] and lock["mode"] in CONFLICTS[wait.mode]:
                held[self.node(lock)].add(lock["mode"])
        held.pop(wait.node, None)
        return {node: strongest(modes) for node, modes in held.items()}

    def blockers_of(self, waits):
        """What pg_blocking_pids() says of the group, with gids for 0."""
        blockers = {pid for wait in waits for pid in self.told[wait.pid]}
        if 0 in blockers:
            blockers.remove(0)
            blockers |= {node for wait in waits for node in wait.hard if isinstance(node, str)}
        return blockers

    def queued_modes(self, wait, node):
        """Conflicting modes in which a node awaits the same lock."""
        return {
            other.mode
            for other in self.waits_of[node]
            if other.tag == wait.tag and other.mode in CONFLICTS[wait.mode]
        }

    def alone(self, node):
        """Whether one process of the session waits: only then is it known which lock each blocker is about."""
        return len(self.waits_of[node]) == 1

    # What follows from the edges. The meaning of frees is that of src/core/wait_graph.h.

    def search(self, start, without=None):
        """The nodes at the end of a path of one edge or more."""
        reached = set()
        pending = list(start)
        while pending:
            for waiter in self.waiters.get(pending.pop(), ()):
                if waiter != without and waiter not in reached:
                    reached.add(waiter)
                    pending.append(waiter)
        return reached

    def is_start(self, node):
        """Waits for nobody, or only for members of its own cycle."""
        return all(other in self.reach[node] for other in self.nodes if node in self.reach[other])

    def in_cycle(self, node):
        return node in self.reach[node]

    def is_root(self, node):
        return node not in self.blockers

    def direct_waiters(self, node):
        return len(self.waiters.get(node, ()))

    def blocked_total(self, node):
        return len(self.reach[node] - {node})

    def frees(self, node):
        others = self.starts - {node}
        return len(self.nodes - {node} - others - self.search(others, without=node))

    def counts(self, node):
        return self.direct_waiters(node), self.blocked_total(node), self.frees(node)

    def roots_of(self, node):
        return [root for root in self.nodes if self.is_root(root) and node in self.reach[root]]

    # Properties of the graph that a run must have met.

    def occurrences(self):
        found = Counter({"waiting processes": len(self.waits)})
        found["prepared blockers"] = sum(isinstance(node, str) for node in self.waiters)
        found["several prepared blockers of one session"] = sum(
            sum(isinstance(node, str) for node in blockers) > 1 for blockers in self.blockers.values()
        )
        found["sessions with several blockers"] = sum(len(blockers) > 1 for blockers in self.blockers.values())
        found["sessions in cycles"] = sum(self.in_cycle(node) for node in self.nodes)
        found["idle blockers outside a transaction"] = sum(
            node in self.processes and self.processes[node]["state"] == "idle" for node in self.waiters
        )
        found["sessions with several waiting processes"] = sum(len(waits) > 1 for waits in self.waits_of.values())
        for wait in self.waits:
            found["waits for " + wait.locktype] += 1
            for mode in wait.hard.values():
                found[in_the_way(wait.locktype, wait.mode, mode)] += 1
            found["waits of parallel workers"] += wait.pid != wait.node
            found["waits jammed behind a queue"] += not wait.hard
            found["waits for a subtransaction"] += wait.locktype == "transactionid" and any(
                node in self.processes and self.processes[node]["xid"] != wait.xid for node in wait.hard
            )
        for node, blockers in self.blockers.items():
            hard = {blocker for wait in self.waits_of[node] for blocker in wait.hard}
            found["hard edges"] += len(blockers & hard)
            found["queued edges"] += len(blockers - hard)
            databases = [self.processes[pid]["database"] for pid in blockers if not isinstance(pid, str)]
            found["edges between databases"] += sum(
                database != self.processes[node]["database"] for database in databases
            )
        return found

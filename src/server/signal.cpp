// The last-moment check and kill().

#include "signal.h"
#include "farewell.h"
#include "lock_table.h"

extern "C" {
#include <signal.h>
}

namespace unblock::server {

namespace {

// Whether somebody in the queue of a lock has to wait for what `holder` holds of it.
bool blocks_through(PROCLOCK* held, const PGPROC* holder) {
	LOCK* lock = held->tag.myLock;
	bool blocks = false;
	compat::each_waiter(lock, [&](PGPROC* waiter) {
		blocks = blocks || (core::conflict(static_cast<core::LockMode>(waiter->waitLockMode),
		                                   static_cast<core::ModeMask>(held->holdMask)) &&
		                    !same_group(waiter, holder));
	});
	return blocks;
}

bool member_blocks(PGPROC* member, bool count_advisory_locks) {
	bool blocks = false;
	for (int i = 0; i < NUM_LOCK_PARTITIONS && !blocks; ++i) {
		compat::each_proclock_of_proc(member, i, [&](PROCLOCK* held) {
			const bool counts =
			    count_advisory_locks || held->tag.myLock->tag.locktag_type != LOCKTAG_ADVISORY;
			blocks = blocks || (counts && blocks_through(held, member));
		});
	}
	return blocks;
}

// Whether a process waits for this lock, ahead of somebody who has to wait for that.
bool blocks_in_queue(PGPROC* member, const LOCKTAG& tag) {
	LOCK* lock = member->waitLock;
	if (lock == nullptr || memcmp(&lock->tag, &tag, sizeof(tag)) != 0)
		return false;
	bool ahead = false;
	bool blocks = false;
	compat::each_waiter(lock, [&](PGPROC* waiter) {
		blocks = blocks || (ahead && !same_group(waiter, member) &&
		                    core::conflict(static_cast<core::LockMode>(waiter->waitLockMode),
		                                   core::bit(static_cast<core::LockMode>(member->waitLockMode))));
		ahead = ahead || waiter == member;
	});
	return blocks;
}

// Whether the process or a worker of its group blocks somebody. Order of locks: ProcArrayLock, then the
// partitions in order, as lock.c's GetBlockerStatusData() does.
bool still_blocks(PGPROC* proc, const Target& target) {
	const auto blocks = [&target](PGPROC* member) {
		return target.must_block == core::MustBlock::in_queue
		           ? blocks_in_queue(member, target.lock)
		           : member_blocks(member, target.count_advisory_locks);
	};
	const PGPROC* waiter = target.waiter_pid == 0 ? nullptr : BackendPidGetProcWithLock(target.waiter_pid);
	acquire_partitions();
	bool found = blocks(proc);
	if (proc->lockGroupLeader == proc)
		compat::each_group_member(proc, [&](PGPROC* member) { found = found || blocks(member); });
	if (target.waiter_pid != 0)
		found = found && waiter != nullptr && waiter->waitLock != nullptr;
	release_partitions();
	return found;
}

// Compares the process with the target. ProcArrayLock is held.
Sent compare(PGPROC* proc, const Target& target, core::Action action) {
	Status status;
	if (!read_status(proc, target.pid, &status, nullptr))
		return Sent::busy;
	if (status.backend_start != target.backend_start)
		return Sent::gone;
	if (target.same_transaction && status.xact_start != target.xact_start)
		return Sent::changed;
	if (target.same_spell && (state_of(status) != target.state || status.state_start != target.state_start))
		return Sent::changed;
	// Transactions of one message, or of one VACUUM, have the same xact_start (xact.c, StartTransaction()).
	if ((target.same_spell || target.local_xid != InvalidLocalTransactionId) &&
	    compat::local_xid(proc) != target.local_xid)
		return Sent::changed;
	const core::Wait wait = wait_of(proc->wait_event_info);
	const bool for_client = wait == core::Wait::client_read || wait == core::Wait::client_write;
	if (target.same_wait && wait != target.wait)
		return Sent::changed;
	if (target.where_it_helps &&
	    (wait == core::Wait::sync_rep || (action == core::Action::cancel && for_client)))
		return Sent::changed;
	if (target.must_block != core::MustBlock::no && !still_blocks(proc, target))
		return Sent::changed;
	return Sent::sent;
}

int signal_number(core::Action action) {
	return action == core::Action::terminate ? SIGTERM : SIGINT;
}

// Signals the whole process group, as pg_signal_backend() does (signalfuncs.c), so that a child that
// the session waits for gets it too.
int deliver(int pid, int number) {
#ifdef HAVE_SETSID
	return kill(-pid, number);
#else
	return kill(pid, number);
#endif
}

} // namespace

Target target_of(const core::Session& session) {
	Target target = {};
	target.pid = session.pid;
	target.backend_start = session.backend_start;
	target.same_transaction = true;
	target.xact_start = session.xact_start;
	target.same_spell = true;
	target.state = session.state;
	target.state_start = session.state_start;
	target.local_xid = session.local_xid;
	target.wait = session.wait;
	target.where_it_helps = true;
	target.count_advisory_locks = session.limits.count_advisory_locks;
	return target;
}

Sent send(const Target& target, core::Action action, const Farewell* farewell) {
	LWLockAcquire(ProcArrayLock, LW_SHARED);
	PGPROC* proc = BackendPidGetProcWithLock(target.pid);
	Sent result = proc == nullptr ? Sent::gone : compare(proc, target, action);
	if (result == Sent::sent) {
		SessionSlot* slot = slot_of(compat::number_of(proc), target.pid);
		const bool left = farewell != nullptr && slot != nullptr && leave_farewell(slot, *farewell);
		if (deliver(target.pid, signal_number(action)) != 0) {
			result = errno == ESRCH ? Sent::gone : Sent::failed;
			if (left)
				take_back_farewell(slot);
		}
	}
	const int kill_error = errno;
	LWLockRelease(ProcArrayLock);
	errno = kill_error;
	return result;
}

Presence find_session(int pid, TimestampTz backend_start, Status* status) {
	LWLockAcquire(ProcArrayLock, LW_SHARED);
	PGPROC* proc = BackendPidGetProcWithLock(pid);
	// An entry that cannot be read now belongs to somebody; another start time to somebody else.
	Presence presence = Presence::gone;
	if (proc != nullptr && !read_status(proc, pid, status, nullptr))
		presence = Presence::unreadable;
	else if (proc != nullptr && status->backend_start == backend_start)
		presence = Presence::present;
	LWLockRelease(ProcArrayLock);
	return presence;
}

bool is_present(int pid, TimestampTz backend_start) {
	Status status;
	return find_session(pid, backend_start, &status) != Presence::gone;
}

} // namespace unblock::server

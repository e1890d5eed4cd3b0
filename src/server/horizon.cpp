// Reads what ComputeXidHorizons() (procarray.c) reads: the transaction ids and
// xmins in the process array, and the xmins of replication slots.

#include "horizon.h"
#include "backend_status.h"
#include "memory.h"
#include "names.h"
#include "prepared.h"
#include "privileges.h"

extern "C" {
#include "storage/spin.h"
}

namespace unblock::server {

namespace {

struct Holding {
	int process_number;
	int pid;
	LocalTransactionId local_xid;
	TransactionId xmin;
	bool own_xid;
	Oid database;
	bool is_standby;
};

// The older of two transaction ids, either of which may be none.
TransactionId older(TransactionId a, TransactionId b) {
	if (!TransactionIdIsNormal(a) || !TransactionIdIsNormal(b))
		return TransactionIdIsNormal(a) ? a : b;
	return TransactionIdPrecedes(a, b) ? a : b;
}

// Processes with an xid or an xmin. ProcArrayLock keeps them from leaving in between. Nothing in here may
// allocate or raise.
int read_processes(Holding* found) {
	int count = 0;
	LWLockAcquire(ProcArrayLock, LW_SHARED);
	for (int number = 0; number < compat::process_count(); ++number) {
		const PGPROC* proc = compat::proc_at(number);
		const TransactionId xid = proc->xid;
		const TransactionId xmin = older(xid, proc->xmin);
		// The server does not wait for these either.
		const bool ignored = (proc->statusFlags & (PROC_IN_VACUUM | PROC_IN_LOGICAL_DECODING)) != 0;
		if (proc->pid == 0 || ignored || !TransactionIdIsNormal(xmin))
			continue;
		const bool is_standby = (proc->statusFlags & PROC_AFFECTS_ALL_HORIZONS) != 0;
		// A walsender leaves the xmin of its standby's feedback behind when it exits: ProcArrayRemove() does
		// not clear it, because nobody looks for processes outside of the process array.
		if (is_standby && BackendPidGetProcWithLock(proc->pid) != proc)
			continue;
		found[count++] = {number,           proc->pid, compat::local_xid(proc), xmin, xmin == xid,
		                  proc->databaseId, is_standby};
	}
	LWLockRelease(ProcArrayLock);
	return count;
}

const char* process_name(const Status& status, const StatusTexts& texts) {
	if (texts.application_name[0] != '\0' || status.type == B_BACKEND) {
		char* name = pstrdup(texts.application_name);
		make_valid(name);
		return name;
	}
	return GetBackendTypeDesc(status.type);
}

core::HorizonHolder holder_of(const Holding& holding, const Names& names, const StatusTexts& texts) {
	core::HorizonHolder holder;
	holder.kind = holding.is_standby ? core::HorizonKind::standby : core::HorizonKind::session;
	holder.pid = holding.pid;
	holder.xmin = holder.data_xmin = holding.xmin;
	holder.own_xid = holding.own_xid;
	// A standby cannot tell databases apart: what it holds back, by feedback, it holds back in all of them.
	holder.all_databases = holding.is_standby || RecoveryInProgress();
	holder.database = holding.database;
	Status status;
	if (!read_status(compat::proc_at(holding.process_number), holding.pid, &status, &texts)) {
		holder.masked = true;
		return holder;
	}
	holder.role = status.role;
	holder.masked = !may_see(names, status.role);
	// Everybody may see applications, but nobody else's kind of process, as in pg_stat_activity.
	if (!holder.masked || status.type == B_BACKEND)
		holder.name = process_name(status, texts);
	const bool same_transaction =
	    compat::local_xid(compat::proc_at(holding.process_number)) == holding.local_xid;
	if (!holder.masked && same_transaction)
		holder.since = status.xact_start;
	return holder;
}

core::HorizonHolder holder_of(const PreparedTransaction& transaction) {
	core::HorizonHolder holder;
	holder.kind = core::HorizonKind::prepared;
	holder.name = transaction.gid;
	holder.name_exact = transaction.gid_exact;
	holder.xmin = holder.data_xmin = transaction.xid;
	holder.own_xid = true;
	holder.since = transaction.prepared;
	holder.database = transaction.database;
	holder.role = transaction.owner;
	return holder;
}

struct Slot {
	NameData name;
	Oid database;
	pid_t pid;
	TransactionId xmin;
	TransactionId catalog_xmin;
};

// Nothing in here may allocate or raise.
int read_slots(Slot* found) {
	int count = 0;
	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	for (int i = 0; i < compat::slot_count(); ++i) {
		ReplicationSlot* slot = &ReplicationSlotCtl->replication_slots[i];
		if (!slot->in_use)
			continue;
		SpinLockAcquire(&slot->mutex);
		const bool counts = !compat::is_invalidated(slot);
		Slot& copy = found[count];
		copy.xmin = slot->effective_xmin;
		copy.catalog_xmin = slot->effective_catalog_xmin;
		copy.name = slot->data.name;
		copy.database = slot->data.database;
		copy.pid = compat::active_pid(slot);
		SpinLockRelease(&slot->mutex);
		if (counts && TransactionIdIsNormal(older(copy.xmin, copy.catalog_xmin)))
			++count;
	}
	LWLockRelease(ReplicationSlotControlLock);
	return count;
}

core::HorizonHolder holder_of(const Slot& slot) {
	core::HorizonHolder holder;
	holder.kind = core::HorizonKind::slot;
	holder.name = NameStr(slot.name);
	holder.pid = slot.pid;
	holder.database = slot.database;
	holder.xmin = older(slot.xmin, slot.catalog_xmin);
	holder.data_xmin = slot.xmin;
	holder.all_databases = true;
	return holder;
}

void fill_names(Horizon& horizon, const Names& names) {
	for (std::size_t i = 0; i < horizon.count; ++i) {
		horizon.holders[i].datname = view(database_name(names, horizon.holders[i].database));
		horizon.holders[i].usename = view(role_name(names, horizon.holders[i].role));
	}
}

} // namespace

Horizon collect_horizon() {
	auto* processes = allocate<Holding>(compat::process_count());
	auto* slots = allocate<Slot>(compat::slot_count());
	const TransactionId next = ReadNextTransactionId();
	const int process_count = read_processes(processes);
	const int slot_count = read_slots(slots);
	const PreparedTransactions prepared = prepared_transactions();
	const StatusTexts texts = make_status_texts();
	const Names names = open_names();

	Horizon horizon = {};
	horizon.holders = allocate<core::HorizonHolder>(process_count + slot_count + prepared.count);
	const auto add = [&horizon](const core::HorizonHolder& holder) {
		new (&horizon.holders[horizon.count++]) core::HorizonHolder(holder);
	};
	for (int i = 0; i < process_count; ++i)
		add(holder_of(processes[i], names, texts));
	for (int i = 0; i < slot_count; ++i)
		add(holder_of(slots[i]));
	for (int i = 0; i < prepared.count; ++i)
		add(holder_of(prepared.list[i]));
	fill_names(horizon, names);
	close_names(names);
	core::rank_horizon({horizon.holders, horizon.count}, next);
	return horizon;
}

} // namespace unblock::server

// Global ids, owners and ages of prepared transactions.
#pragma once

#include "compat.h"

namespace unblock::server {

struct PreparedTransaction {
	TransactionId xid;
	const char* gid;
	bool gid_exact; // false: its bytes, of another database, are no text in this one's encoding; gid is "?"
	TimestampTz prepared;
	Oid owner;
	Oid database;
};

// Palloc'd.
struct PreparedTransactions {
	PreparedTransaction* list;
	int count;
};

// All of the server. Reads no catalog.
PreparedTransactions prepared_transactions();

// Completes the prepared transactions among the sessions: gid, role, database, and as xact_start the
// moment of PREPARE TRANSACTION. Reads no catalog.
void fill_prepared(core::Session* sessions, core::Index count);

} // namespace unblock::server

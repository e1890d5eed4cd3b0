// Asks the server's own pg_prepared_xact(), which is found by its built-in
// OID: no query, no catalog, no lock that somebody could hold against us.

#include "prepared.h"
#include "memory.h"
#include "names.h"

extern "C" {
#include "executor/executor.h"
#include "utils/typcache.h"
}

namespace unblock::server {

namespace {

// Columns of pg_prepared_xact() (twophase.c): transaction, gid, prepared, ownerid, dbid.
PreparedTransaction from_row(HeapTupleHeader row) {
	const TupleDesc columns =
	    lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(row), HeapTupleHeaderGetTypMod(row));
	HeapTupleData tuple;
	tuple.t_len = HeapTupleHeaderGetDatumLength(row);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = row;
	Datum values[5];
	bool nulls[5];
	heap_deform_tuple(&tuple, columns, values, nulls);
	ReleaseTupleDesc(columns);
	char* gid = TextDatumGetCString(values[1]);
	const bool exact = make_valid(gid);
	return {DatumGetTransactionId(values[0]),
	        gid,
	        exact,
	        DatumGetTimestampTz(values[2]),
	        DatumGetObjectId(values[3]),
	        DatumGetObjectId(values[4])};
}

} // namespace

PreparedTransactions prepared_transactions() {
	PreparedTransactions found = {};
	if (max_prepared_xacts == 0)
		return found;
	// There cannot be more.
	found.list = allocate<PreparedTransaction>(max_prepared_xacts);
	FmgrInfo function;
	fmgr_info(F_PG_PREPARED_XACT, &function);
	ReturnSetInfo result = {};
	result.type = T_ReturnSetInfo;
	result.econtext = CreateStandaloneExprContext();
	result.allowedModes = SFRM_ValuePerCall;
	result.returnMode = SFRM_ValuePerCall;
	LOCAL_FCINFO(call, 0);
	InitFunctionCallInfoData(*call, &function, 0, InvalidOid, nullptr, reinterpret_cast<Node*>(&result));
	for (;;) {
		result.isDone = ExprSingleResult;
		call->isnull = false;
		const Datum row = FunctionCallInvoke(call);
		if (result.isDone == ExprEndResult || found.count == max_prepared_xacts)
			break;
		// Another transaction may be taking the place of one that has just ended.
		const PreparedTransaction transaction = from_row(DatumGetHeapTupleHeader(row));
		if (TransactionIdIsNormal(transaction.xid))
			found.list[found.count++] = transaction;
	}
	FreeExprContext(result.econtext, true);
	return found;
}

void fill_prepared(core::Session* sessions, core::Index count) {
	const auto is_prepared = [](const core::Session& session) {
		return session.kind == core::Kind::prepared;
	};
	if (std::none_of(sessions, sessions + count, is_prepared))
		return;
	const PreparedTransactions known = prepared_transactions();
	for (core::Index i = 0; i < count; ++i)
		for (int n = 0; n < known.count && is_prepared(sessions[i]); ++n) {
			const PreparedTransaction& transaction = known.list[n];
			if (transaction.xid != sessions[i].xid)
				continue;
			sessions[i].gid = transaction.gid;
			sessions[i].gid_exact = transaction.gid_exact;
			sessions[i].xact_start = transaction.prepared;
			sessions[i].role = transaction.owner;
			sessions[i].database = transaction.database;
		}
}

} // namespace unblock::server

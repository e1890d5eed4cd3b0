// Asks the server's own pg_prepared_xact(), which is found by its built-in
// OID: no query, no catalog, no lock that somebody could hold against us.

#include "prepared.h"

extern "C" {
#include "executor/executor.h"
#include "utils/typcache.h"
}

namespace unblock::server {

namespace {

// Columns of pg_prepared_xact() (twophase.c): transaction, gid, prepared, ownerid, dbid.
void apply_row(core::Session* sessions, core::Index count, HeapTupleHeader row) {
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
	const TransactionId xid = DatumGetTransactionId(values[0]);
	for (core::Index i = 0; i < count; ++i) {
		core::Session& session = sessions[i];
		if (session.kind != core::Kind::prepared || session.xid != xid)
			continue;
		session.gid = TextDatumGetCString(values[1]);
		session.xact_start = DatumGetTimestampTz(values[2]);
		session.role = DatumGetObjectId(values[3]);
		session.database = DatumGetObjectId(values[4]);
	}
}

} // namespace

void fill_prepared(core::Session* sessions, core::Index count) {
	const bool any = std::any_of(sessions, sessions + count, [](const core::Session& session) {
		return session.kind == core::Kind::prepared;
	});
	if (!any)
		return;
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
		if (result.isDone == ExprEndResult)
			break;
		apply_row(sessions, count, DatumGetHeapTupleHeader(row));
	}
	FreeExprContext(result.econtext, true);
}

} // namespace unblock::server

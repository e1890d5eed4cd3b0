// unblock.horizon(): what keeps vacuum from removing dead rows.

#include "horizon.h"
#include "rows.h"

extern "C" {
PG_FUNCTION_INFO_V1(pg_unblock_horizon);
PGDLLEXPORT Datum pg_unblock_horizon(PG_FUNCTION_ARGS) {
	using namespace unblock;
	server::Rows rows(fcinfo);
	const server::Horizon horizon = server::collect_horizon();
	for (std::size_t i = 0; i < horizon.count; ++i) {
		const core::HorizonHolder& holder = horizon.holders[i];
		rows.text(core::name(holder.kind));
		rows.text(holder.name);
		if (holder.pid == 0)
			rows.null();
		else
			rows.int4(holder.pid);
		rows.name(holder.datname);
		rows.xid(holder.xmin);
		rows.int4(static_cast<int32>(holder.age));
		rows.time(holder.since);
		rows.boolean(holder.oldest);
		rows.end_row();
	}
	return 0;
}
}

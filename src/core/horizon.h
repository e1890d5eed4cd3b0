// What keeps vacuum from removing dead rows: everything in the server that may still want to see them.
#pragma once

#include "snapshot.h"

#include <cstdint>
#include <span>
#include <string_view>

namespace unblock::core {

enum class HorizonKind : std::uint8_t { session, prepared, slot, standby };

// "session", "prepared transaction", "replication slot", "standby".
std::string_view name(HorizonKind kind) noexcept;

// One holder of an xmin (or of an xid, which counts as one). Which rows it keeps is as in
// ComputeXidHorizons() (procarray.c): a slot's catalog_xmin counts for system catalogs only; a session's for
// its own database and for shared catalogs.
struct HorizonHolder {
	HorizonKind kind = HorizonKind::session;
	std::int32_t pid = 0;   // 0: no process
	std::uint32_t xmin = 0; // the oldest of its xid, its xmin and its catalog_xmin
	std::uint32_t data_xmin =
	    0;                      // the same without the catalog_xmin; 0: it keeps rows of system catalogs only
	std::uint32_t age = 0;      // transactions since xmin; set by rank_horizon
	std::uint32_t data_age = 0; // transactions since data_xmin; set by rank_horizon
	bool oldest = false;        // nobody's xmin is older; set by rank_horizon
	bool own_xid = false;       // xmin is its own transaction id
	bool all_databases = false; // its data_xmin counts in all of them
	Time since = 0;             // when its transaction began, or was prepared; 0: not known
	std::uint32_t database = 0; // OID, 0: none; among slots only logical ones have one
	std::uint32_t role = 0;     // OID, 0: none
	bool masked = false;

	// Views into memory of the server; without data: not known or not to be shown.
	std::string_view name;  // application, gid, name of the slot, or application of the standby
	bool name_exact = true; // false: only what can be shown of a gid here, not fit for a remedy
	std::string_view datname;
	std::string_view usename;
};

// Ids below this one stand for no transaction (transam.h, FirstNormalTransactionId).
inline constexpr std::uint32_t kFirstNormalXid = 3;

// How many transactions have been given an id since this one, 0 for one that was begun after next_xid was
// read. `next_xid` is the next id to be given out; ids are compared as the server does it, modulo 2^32
// (transam.c, TransactionIdPrecedes).
std::uint32_t transactions_since(std::uint32_t xid, std::uint32_t next_xid) noexcept;

// Sets ages and oldest, and sorts: oldest xmin first, then kind, then pid, then name. O(n log n).
void rank_horizon(std::span<HorizonHolder> holders, std::uint32_t next_xid) noexcept;

} // namespace unblock::core

// Who holds back vacuum most.
#include "horizon.h"

#include <algorithm>
#include <tuple>

#include "fence.h"

namespace unblock::core {

std::uint32_t transactions_since(std::uint32_t xid, std::uint32_t next_xid) noexcept {
	const auto distance = static_cast<std::int32_t>(next_xid - xid);
	return static_cast<std::uint32_t>(std::max(distance, 0));
}

std::string_view name(HorizonKind kind) noexcept {
	switch (kind) {
	case HorizonKind::session:
		break;
	case HorizonKind::prepared:
		return "prepared transaction";
	case HorizonKind::slot:
		return "replication slot";
	case HorizonKind::standby:
		return "standby";
	}
	return "session";
}

void rank_horizon(std::span<HorizonHolder> holders, std::uint32_t next_xid) noexcept {
	std::uint32_t most = 0;
	for (HorizonHolder& holder : holders) {
		holder.age = transactions_since(holder.xmin, next_xid);
		holder.data_age = holder.data_xmin == 0 ? 0 : transactions_since(holder.data_xmin, next_xid);
		most = std::max(most, holder.age);
	}
	for (HorizonHolder& holder : holders)
		holder.oldest = holder.age == most;
	std::ranges::sort(holders, {}, [](const HorizonHolder& holder) {
		return std::tuple(~holder.age, holder.kind, holder.pid, holder.name);
	});
}

} // namespace unblock::core

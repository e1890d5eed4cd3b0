// Who holds back vacuum most.
#include "horizon.h"

#include <algorithm>
#include <tuple>

#include "fence.h"

namespace unblock::core {

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
		// One that was begun after next_xid was read is not old.
		const auto distance = static_cast<std::int32_t>(next_xid - holder.xmin);
		holder.age = static_cast<std::uint32_t>(std::max(distance, 0));
		most = std::max(most, holder.age);
	}
	for (HorizonHolder& holder : holders)
		holder.oldest = holder.age == most;
	std::ranges::sort(holders, {}, [](const HorizonHolder& holder) {
		return std::tuple(~holder.age, holder.kind, holder.pid, holder.name);
	});
}

} // namespace unblock::core

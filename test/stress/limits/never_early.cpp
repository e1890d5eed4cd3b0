// Runs the sessions, then counts who was ended and who was not.

#include "never_early.h"
#include "idler.h"
#include "judge.h"
#include "setup.h"

#include <algorithm>
#include <map>
#include <memory>
#include <set>

namespace unblock::stress {

namespace {

constexpr Micros kClose = 50 * kMillisecond;

void run_sessions(Run& run, std::uint64_t seed) {
	std::vector<std::unique_ptr<Idler>> idlers;
	std::vector<std::unique_ptr<Waiter>> waiters;
	for (const Role& role : kRoles)
		for (int i = 0; i < role.sessions; ++i) {
			const int number = static_cast<int>(idlers.size()) + 1;
			idlers.push_back(std::make_unique<Idler>(run, role, number, seed + number));
		}
	for (int i = 1; i <= kWaiter.sessions; ++i)
		waiters.push_back(std::make_unique<Waiter>(run, seed - i));
	std::vector<Client*> clients;
	std::ranges::transform(idlers, std::back_inserter(clients), [](auto& idler) { return idler.get(); });
	std::ranges::transform(waiters, std::back_inserter(clients), [](auto& waiter) { return waiter.get(); });
	const auto at_rest = [](const auto& client) { return client->is_at_rest(); };
	attend(clients, [&] {
		return run.is_over() && std::ranges::all_of(idlers, at_rest) && std::ranges::all_of(waiters, at_rest);
	});
}

// Transactions that went on although they were close to a limit, or beyond what is none.
struct Survivals {
	std::map<std::string, std::size_t> close; // by rule
	Micros longest_beyond = 0;                // the limit that would have been due
	std::size_t exempt = 0;                   // beyond the limit that they are exempt from
	std::size_t unblocking = 0;               // that idled beyond a limit for blockers, and blocked nobody
};

void count_survival(const Notes& notes, const Transaction& transaction, const Spell& spell,
                    Survivals& survivals) {
	const Role& role = *transaction.life->role;
	if (role.exempt) {
		survivals.exempt += spell.length() > role.idle_in_transaction + kClose;
		return;
	}
	const auto count_close = [&](const char* rule, Micros collected) {
		const Micros limit = role.limit(rule);
		if (limit == 0)
			return;
		survivals.close[rule] += std::abs(collected - limit) <= kClose;
		survivals.longest_beyond = std::max(survivals.longest_beyond, collected - limit);
	};
	const Micros blocking = sum_of(notes.blocking_idle(transaction, spell.end));
	count_close(kIdleRule, spell.length());
	count_close(kBlockerRule, blocking);
	survivals.unblocking += role.idle_in_transaction == 0 && spell.length() > role.idle_blocker + kClose &&
	                        blocking < role.idle_blocker - kClose;
}

Survivals count_survivals(const Notes& notes, const std::vector<End>& ends) {
	std::set<const Transaction*> ended;
	for (const End& end : ends)
		ended.insert(end.transaction);
	Survivals survivals;
	for (const Transaction& transaction : notes.transactions())
		for (const Spell& spell : transaction.spells)
			if (spell.answered && spell.by_server && !ended.contains(&transaction))
				count_survival(notes, transaction, spell, survivals);
	return survivals;
}

// A run in which little happens must not pass for a good one. The rates are a fraction of those on a busy
// machine.
void check_substance(const Run& run, const std::vector<End>& ends, Micros length, Report& report) {
	const auto per_second = [length](double rate) {
		return static_cast<std::size_t>(rate * static_cast<double>(length) / kSecond);
	};
	Survivals survivals = count_survivals(run.notes, ends);
	for (const auto& [rule, rate] : {std::pair(kIdleRule, 0.4), std::pair(kBlockerRule, 0.3)}) {
		const auto count = static_cast<std::size_t>(std::ranges::count(ends, rule, &End::rule));
		report.check_enough("ends by " + std::string(rule), count, per_second(rate));
		report.check_enough("sessions within 50 ms of " + std::string(rule) + " that went on",
		                    survivals.close[rule], per_second(rate));
	}
	report.check_enough("exempt sessions beyond their limit that went on", survivals.exempt, per_second(0.2));
	report.check_enough("idle sessions that blocked nobody for long and went on", survivals.unblocking,
	                    per_second(0.2));
	report.figure("learned corrections of the aim: " + milliseconds(run.idle_correction.value()) + ", " +
	              milliseconds(run.blocker_correction.value()));
	report.figure("furthest beyond a limit of those that went on: " + milliseconds(survivals.longest_beyond));
}

} // namespace

void run_never_early(Micros length, std::uint64_t seed, const std::string& log_path, Report& report) {
	int sessions = 0;
	for (const Role& role : kRoles) {
		create(role);
		sessions += role.sessions;
	}
	create(kWaiter);
	create_contended(sessions);
	const ServerLog log(log_path);
	Run run;
	run.contended_from = now() + length / 2;
	run.until = now() + length;
	run_sessions(run, seed);
	report.figure(std::to_string(sessions) + " sessions, " + std::to_string(run.notes.transactions().size()) +
	              " transactions");
	const std::vector<End> ends = judge_ends(run.notes, log, report);
	check_substance(run, ends, length, report);
}

} // namespace unblock::stress

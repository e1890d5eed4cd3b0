// The rules that end sessions or cancel statements: on which sessions each of
// them counts, and what it measures.
//
// Pure and without memory. What has to be remembered from look to look
// (policy.h), or takes the whole graph (preemption.h, queue_jams.h), comes in with
// the Subject. Reports use the same rules (next_limit.h).
#pragma once

#include "preemption.h"
#include "queue_jams.h"

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace unblock::core {

// Gravest first: where a session breaks several, the first one names the reason.
enum class Rule : std::uint8_t {
	idle_blocker,
	preempt_idle_blockers,
	idle_write_transaction,
	idle_in_transaction,
	horizon_age,
	transaction,
	queued_blocker,
	active_blocker,
};
inline constexpr std::size_t kRules = 8;

// The setting behind a rule without the prefix, "idle_blocker_limit".
std::string_view setting(Rule rule) noexcept;

// The limit of a session's own that a rule goes by; 0: none. preempt_idle_blockers has none: it goes by that
// of whoever is blocked.
Micros own_limit(Rule rule, const Limits& limits) noexcept;

// Whether a rule's limit counts transactions; else it is a length of time.
constexpr bool counts_transactions(Rule rule) noexcept {
	return rule == Rule::horizon_age;
}

enum class Action : std::uint8_t { terminate, cancel };

// "terminate", "cancel".
std::string_view name(Action action) noexcept;

// Whether a decision is to be carried out only while its session still blocks somebody, and how.
enum class MustBlock : std::uint8_t { no, as_holder, in_queue };

// Decisions are carried out in rounds: what a round ends may leave others without a breach, so that the graph
// is looked at again before the next one. Idle sessions go first, then those that only stand in a queue,
// those that work last.
enum class Round : std::uint8_t { idle, queued, active };

struct RuleFacts {
	Rule rule = Rule::idle_blocker;
	std::string_view setting;
	Round round = Round::idle;
	bool waits = false; // it is about sessions that wait for their client
	MustBlock must_block = MustBlock::no;
};

// In order of Rule.
std::span<const RuleFacts, kRules> rules() noexcept;

// One session as the rules see it.
struct Subject {
	const Limits& limits;

	bool waits = false;          // for its client
	bool in_transaction = false; // while it waits
	bool stalled = false;        // while it waits, `active`: its process has not run meanwhile
	Micros idle = 0;             // how long it has waited for its client

	bool blocks = false;  // somebody waits for it: directly, hard, counted
	Micros blocked = 0;   // for how long it has been waited for by the one who has waited longest
	Index waiter = kNone; // that one, of those that count if there are any
	bool works = false;   // it is active, and waits neither for its client nor for a lock
	bool root = false;    // it blocks somebody and awaits no lock
	Micros blocking_idle =
	    0; // what its transaction has collected: for how long it blocked somebody and idled, …
	Micros blocking_work = 0; // … and for how long it did so and was not seen to idle or to wait for a lock

	bool has_written = false;
	Micros transaction_age = 0; // 0: in none, or in an aborted one
	std::uint32_t xid_age = 0;  // transactions since its xmin or its xid, whichever is older

	const Preemption* preemption = nullptr;  // it is in the way of a statement that preempts
	const Jam* jam = nullptr;                // it waits in a queue and has a limit for that
	std::optional<Micros> since_cancel = {}; // active_blocker_limit has had its transaction canceled
};

// For how long the session is idle and blocks somebody at the same time; 0 if it is not so now.
constexpr Micros blocking_spell(const Subject& subject) noexcept {
	return subject.waits && subject.blocks ? std::min(subject.idle, subject.blocked) : 0;
}

// A session that idles for less than this counts as working: that is a gap between two statements. The
// smallest limit that can be set is as long.
inline constexpr Micros kGap = 100'000;

// Whether the session is at work, or in a gap between two statements.
constexpr bool is_at_work(const Subject& subject) noexcept {
	return subject.works || (subject.waits && !subject.stalled && subject.idle < kGap);
}

// What a rule measures on a subject.
struct Measure {
	Micros limit = 0; // 0: the rule does not apply. Of horizon_age: transactions, as is `measured`
	Micros measured = 0;
	bool broken = false;
	Action action = Action::terminate;
	// Until it can be broken at the earliest. none: not before the session has been in the rule's condition
	// for as long as the limit, or that cannot be told in time.
	std::optional<Micros> in = {};
};
Measure measure(Rule rule, const Subject& subject) noexcept;

// Whether a session waits for its client inside a transaction, by its state alone.
constexpr bool idle_in_transaction(const Session& session) noexcept {
	return session.state == State::idle_in_transaction || session.state == State::idle_in_transaction_aborted;
}

// What tells a session's transaction from its next one. `idle` sessions and, because the server clears
// its start, aborted transactions are told by their present spell instead.
constexpr Time transaction_of(const Session& session) noexcept {
	return session.xact_start != 0 ? session.xact_start : -session.state_start;
}

// Only client backends that stand for themselves are acted upon. O(1).
bool is_client(const Session& session, Index index) noexcept;

// Whether it is known what the session does, and ending it could help: one that waits for a standby has
// committed already. O(1).
bool can_be_judged(const Session& session) noexcept;

// All of the subject that one snapshot tells. `stalled`: for how long an active session is known to have been
// stalled. O(1).
Subject subject_of(const WaitGraph& graph, Index session, std::optional<Micros> stalled) noexcept;

} // namespace unblock::core

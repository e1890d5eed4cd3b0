// Each limit alone, and limits together: a table of scenes in virtual time, each
// with what is done about it and when.

#include "core/policy.h"
#include "virtual_server.h"

#include <gtest/gtest.h>

#include <optional>
#include <ostream>
#include <string_view>
#include <vector>

namespace unblock::core::test {
namespace {

constexpr Micros s = kSecond;

// A table, the session that is judged, and whoever else takes part. Time goes by in the scene as it tells,
// and afterwards with nobody doing anything.
class Scene {
public:
	explicit Scene(const Limits& limits) : limits_(limits) { self = server.connect(limits); }

	Index other(const Limits& limits = {}) { return server.connect(limits); }
	void with(Index client, LockMode mode) { server.hold(client, table, mode); }
	void wants(Index client, LockMode mode = LockMode::access_exclusive) {
		server.work(client);
		server.wait(client, table, mode);
	}

	// The session begins a transaction and holds the table, or not.
	void works() { server.work(self); }
	void idles() { server.idle_in_transaction(self); }
	void reads_and_idles() {
		works();
		with(self, LockMode::access_share);
		idles();
	}
	void writes_and_idles() {
		works();
		with(self, LockMode::row_exclusive);
		server.write(self);
		idles();
	}
	Index migration(const Limits& limits = {}) {
		const Index client = other(limits);
		wants(client);
		return client;
	}
	Index reader() {
		const Index client = other();
		wants(client, LockMode::access_share);
		return client;
	}
	// Somebody who works and has read the table.
	Index busy_reader() {
		const Index client = other();
		server.work(client);
		with(client, LockMode::access_share);
		return client;
	}
	// Somebody who has read the table and idles.
	Index idle_reader(const Limits& limits = {}) {
		const Index client = other(limits);
		server.work(client);
		with(client, LockMode::access_share);
		server.idle_in_transaction(client);
		return client;
	}

	// Time goes by, and the enforcer looks as often as it has planned, and once at the end.
	void after(Micros length) { pass(length, false); }

	// What is done about the session in the minutes to come, and when since the scene began.
	void then() {
		if (found.empty())
			pass(300 * kSecond, true);
	}

	struct Done {
		Rule rule;
		Action action;
		Micros at;
	};

	VirtualServer server;
	Index table = server.lock();
	Index self;
	std::vector<Done> found;
	std::vector<Index> ended; // all sessions, in order
	bool carry_out = true;    // what is decided, and those who are ended leave

private:
	void pass(Micros length, bool until_found) {
		const Micros end = server.monotonic() + length;
		while (server.monotonic() < end && !(until_found && !found.empty())) {
			look();
			const Micros sleep = enforcer_.last.sleep.value_or(length);
			server.advance(std::min(sleep, end - server.monotonic()));
		}
		look();
	}

	void look() {
		for (const Decision& decision : enforcer_.look(server).decisions) {
			if (decision.session == self)
				found.push_back({decision.rule, decision.action, server.monotonic() - began_});
			ended.push_back(decision.session);
			if (!carry_out || decision.dry_run)
				continue;
			enforcer_.carry_out(server, decision.session);
			server.leave(decision.session);
		}
	}

	Limits limits_;
	VirtualEnforcer enforcer_{100 * kMilli};
	Micros began_ = server.monotonic();
};

// What a limit leads to; at: since the scene began.
struct Outcome {
	Rule rule;
	Action action;
	Micros at;
};

struct Case {
	std::string_view says;
	Limits limits;
	void (*scene)(Scene&);
	std::optional<Outcome> outcome; // none: the session is left alone
};

constexpr auto kTerminate = Action::terminate;
constexpr auto kCancel = Action::cancel;
constexpr std::nullopt_t kLeftAlone = std::nullopt;

// clang-format off
const std::vector<Case> kCases = {
	// --- idle_in_transaction_limit
	{"idle in a transaction", {.idle_in_transaction = 5 * s},
	 [](Scene& scene) { scene.reads_and_idles(); },
	 Outcome{Rule::idle_in_transaction, kTerminate, 5 * s}},
	{"a keep-alive begins the idle time anew", {.idle_in_transaction = 5 * s},
	 [](Scene& scene) { scene.reads_and_idles(); scene.after(4 * s); scene.works(); scene.idles(); },
	 Outcome{Rule::idle_in_transaction, kTerminate, 9 * s}},
	{"idle outside of a transaction", {.idle_in_transaction = 5 * s, .idle_write_transaction = 5 * s, .transaction = 5 * s},
	 [](Scene& scene) { scene.writes_and_idles(); scene.server.commit(scene.self); },
	 kLeftAlone},
	{"an aborted transaction", {.idle_in_transaction = 5 * s},
	 [](Scene& scene) { scene.reads_and_idles(); scene.after(s); scene.server.abort(scene.self); },
	 Outcome{Rule::idle_in_transaction, kTerminate, 6 * s}},

	// --- idle_write_transaction_limit
	{"idle in a transaction that has written", {.idle_write_transaction = 5 * s},
	 [](Scene& scene) { scene.writes_and_idles(); },
	 Outcome{Rule::idle_write_transaction, kTerminate, 5 * s}},
	{"one that has only read", {.idle_write_transaction = 5 * s},
	 [](Scene& scene) { scene.reads_and_idles(); },
	 kLeftAlone},
	{"one that writes later", {.idle_write_transaction = 5 * s},
	 [](Scene& scene) { scene.reads_and_idles(); scene.after(9 * s); scene.works(); scene.server.write(scene.self); scene.idles(); },
	 Outcome{Rule::idle_write_transaction, kTerminate, 14 * s}},
	{"one that has written and works", {.idle_write_transaction = 5 * s},
	 [](Scene& scene) { scene.writes_and_idles(); scene.works(); },
	 kLeftAlone},
	{"one that has written and was aborted", {.idle_write_transaction = 5 * s},
	 [](Scene& scene) { scene.writes_and_idles(); scene.server.abort(scene.self); },
	 kLeftAlone},

	// --- transaction_limit
	{"a transaction that works", {.transaction = 5 * s},
	 [](Scene& scene) { scene.works(); },
	 Outcome{Rule::transaction, kTerminate, 5 * s}},
	{"a transaction that works and idles in turn", {.transaction = 5 * s},
	 [](Scene& scene) { scene.works(); scene.after(3 * s); scene.idles(); scene.after(s); scene.works(); },
	 Outcome{Rule::transaction, kTerminate, 5 * s}},
	{"a transaction that waits for a lock", {.transaction = 5 * s},
	 [](Scene& scene) { scene.with(scene.busy_reader(), LockMode::access_share); scene.wants(scene.self); },
	 Outcome{Rule::transaction, kTerminate, 5 * s}},
	{"short transactions, one after the other", {.transaction = 5 * s},
	 [](Scene& scene) { for (int i = 0; i < 9; ++i) { scene.works(); scene.after(4 * s); scene.server.commit(scene.self); } },
	 kLeftAlone},
	{"one that was aborted in time", {.transaction = 5 * s},
	 [](Scene& scene) { scene.works(); scene.after(4 * s); scene.server.abort(scene.self); },
	 kLeftAlone},
	{"one that has committed and waits for a standby", {.transaction = 5 * s},
	 [](Scene& scene) { scene.works(); scene.server.client(scene.self).session.wait = Wait::sync_rep; },
	 kLeftAlone},

	// --- horizon_age_limit
	{"an old snapshot", {.horizon_age = 1000},
	 [](Scene& scene) { scene.works(); scene.server.take_snapshot(scene.self); scene.idles(); scene.after(s); scene.server.pass_transactions(1000); },
	 Outcome{Rule::horizon_age, kTerminate, s}},
	{"an old id", {.horizon_age = 1000},
	 [](Scene& scene) { scene.writes_and_idles(); scene.after(s); scene.server.pass_transactions(999); },
	 Outcome{Rule::horizon_age, kTerminate, s}},
	{"one transaction less", {.horizon_age = 1000},
	 [](Scene& scene) { scene.works(); scene.server.take_snapshot(scene.self); scene.idles(); scene.after(s); scene.server.pass_transactions(999); },
	 kLeftAlone},
	{"a young snapshot in an old transaction", {.horizon_age = 1000},
	 [](Scene& scene) { scene.works(); scene.idles(); scene.server.pass_transactions(5000); scene.server.take_snapshot(scene.self); },
	 kLeftAlone},
	{"neither snapshot nor id", {.horizon_age = 1000},
	 [](Scene& scene) { scene.reads_and_idles(); scene.server.pass_transactions(5000); },
	 kLeftAlone},
	{"an old snapshot at work", {.horizon_age = 1000},
	 [](Scene& scene) { scene.works(); scene.server.take_snapshot(scene.self); scene.server.pass_transactions(5000); },
	 kLeftAlone},

	// --- idle_blocker_limit
	{"idle, and somebody waits", {.idle_blocker = 5 * s},
	 [](Scene& scene) { scene.reads_and_idles(); scene.after(60 * s); scene.migration(); },
	 Outcome{Rule::idle_blocker, kTerminate, 65 * s}},
	{"idle, and nobody waits", {.idle_blocker = 5 * s, .active_blocker = 5 * s, .queued_blocker = 5 * s},
	 [](Scene& scene) { scene.writes_and_idles(); },
	 kLeftAlone},

	// --- active_blocker_limit, cancel_grace
	{"at work, and somebody waits", {.active_blocker = 5 * s, .cancel_grace = 2 * s},
	 [](Scene& scene) { scene.works(); scene.with(scene.self, LockMode::row_exclusive); scene.after(60 * s); scene.migration(); },
	 Outcome{Rule::active_blocker, kCancel, 65 * s}},
	{"a batch job with gaps, at work most of the time", {.active_blocker = 5 * s},
	 [](Scene& scene) {
		 scene.works(); scene.with(scene.self, LockMode::row_exclusive); scene.migration();
		 for (int i = 0; i < 100 && scene.found.empty(); ++i) { scene.after(50 * kMilli); scene.idles(); scene.after(10 * kMilli); scene.works(); }
	 },
	 Outcome{Rule::active_blocker, kCancel, 5 * s}},
	{"idle time does not count as work", {.active_blocker = 5 * s},
	 [](Scene& scene) { scene.writes_and_idles(); scene.migration(); scene.after(60 * s); scene.works(); },
	 Outcome{Rule::active_blocker, kCancel, 65 * s}},
	{"nor does waiting for a lock", {.active_blocker = 5 * s},
	 [](Scene& scene) {
		 scene.works(); scene.with(scene.self, LockMode::row_exclusive); scene.migration();
		 const Index lock = scene.server.lock(); const Index holder = scene.other();
		 scene.server.work(holder); scene.server.hold(holder, lock, LockMode::exclusive);
		 scene.server.wait(scene.self, lock, LockMode::exclusive); scene.after(60 * s); scene.server.stop_waiting(scene.self);
	 },
	 Outcome{Rule::active_blocker, kCancel, 65 * s}},
	{"at work for others in turn, their times add up", {.active_blocker = 5 * s},
	 [](Scene& scene) {
		 scene.works(); scene.with(scene.self, LockMode::row_exclusive);
		 const Index first = scene.migration(); scene.after(3 * s); scene.server.stop_waiting(first); scene.after(60 * s); scene.migration();
	 },
	 Outcome{Rule::active_blocker, kCancel, 65 * s}},
	{"at work, and idle when its time has come", {.active_blocker = 5 * s},
	 [](Scene& scene) { scene.works(); scene.with(scene.self, LockMode::row_exclusive); scene.migration(); scene.after(4 * s); scene.idles(); },
	 kLeftAlone},
	{"in COPY FROM STDIN, where a cancel would be ignored", {.active_blocker = 5 * s},
	 [](Scene& scene) { scene.works(); scene.with(scene.self, LockMode::row_exclusive); scene.migration(); scene.server.stall(scene.self); },
	 kLeftAlone},
	{"waiting for an advisory lock that it holds", {.active_blocker = 5 * s},
	 [](Scene& scene) {
		 const Index lock = scene.server.lock(true); const Index follower = scene.other();
		 scene.works(); scene.server.hold(scene.self, lock, LockMode::exclusive);
		 scene.server.work(follower); scene.server.wait(follower, lock, LockMode::exclusive);
	 },
	 kLeftAlone},

	// --- queued_blocker_limit, queued_blocker_waiters
	{"a migration behind a reader, and a reader behind the migration", {.queued_blocker = 5 * s},
	 [](Scene& scene) { scene.busy_reader(); scene.wants(scene.self); scene.after(s); scene.reader(); },
	 Outcome{Rule::queued_blocker, kCancel, 6 * s}},
	{"nobody behind it", {.queued_blocker = 5 * s},
	 [](Scene& scene) { scene.busy_reader(); scene.wants(scene.self); },
	 kLeftAlone},
	{"somebody behind it who does not wait for it", {.queued_blocker = 5 * s},
	 [](Scene& scene) { scene.with(scene.migration(), LockMode::access_exclusive); scene.wants(scene.self, LockMode::access_share); scene.reader(); },
	 kLeftAlone},
	{"somebody behind it for whom the lock is held", {.queued_blocker = 5 * s},
	 [](Scene& scene) {
		 const Index holder = scene.other(); scene.server.work(holder); scene.with(holder, LockMode::access_exclusive);
		 scene.wants(scene.self); scene.reader();
	 },
	 kLeftAlone},
	{"jammed only since the other holder is gone", {.queued_blocker = 5 * s},
	 [](Scene& scene) {
		 const Index holder = scene.other(); scene.server.work(holder); scene.with(holder, LockMode::row_exclusive);
		 scene.busy_reader(); scene.wants(scene.self); scene.wants(scene.other(), LockMode::share);
		 scene.after(60 * s); scene.server.commit(holder);
	 },
	 Outcome{Rule::queued_blocker, kCancel, 65 * s}},
	{"fewer behind it than asked for", {.queued_blocker = 5 * s, .queued_blocker_waiters = 3},
	 [](Scene& scene) { scene.busy_reader(); scene.wants(scene.self); scene.reader(); scene.reader(); },
	 kLeftAlone},
	{"so many behind it: the last one decides when", {.queued_blocker = 5 * s, .queued_blocker_waiters = 3},
	 [](Scene& scene) { scene.busy_reader(); scene.wants(scene.self); scene.reader(); scene.after(s); scene.reader(); scene.after(2 * s); scene.reader(); scene.after(3 * s); scene.reader(); },
	 Outcome{Rule::queued_blocker, kCancel, 8 * s}},
	{"behind another migration, all three in the way of a reader", {.queued_blocker = 5 * s},
	 [](Scene& scene) { scene.busy_reader(); scene.migration(); scene.wants(scene.self); scene.migration(); scene.reader(); },
	 Outcome{Rule::queued_blocker, kCancel, 5 * s}},
	{"autovacuum behind it", {.queued_blocker = 5 * s},
	 [](Scene& scene) { scene.busy_reader(); scene.wants(scene.self); scene.server.client(scene.reader()).session.kind = Kind::autovacuum; },
	 kLeftAlone},
	{"a parallel worker behind it", {.queued_blocker = 5 * s},
	 [](Scene& scene) {
		 const Index leader = scene.busy_reader(); scene.wants(scene.self);
		 const Index worker = scene.reader(); scene.server.client(worker).session.leader = leader;
		 scene.server.client(worker).session.kind = Kind::worker;
	 },
	 kLeftAlone},
	{"a queue for an advisory lock", {.queued_blocker = 5 * s},
	 [](Scene& scene) {
		 scene.table = scene.server.lock(true);
		 scene.busy_reader(); scene.wants(scene.self); scene.reader();
	 },
	 kLeftAlone},
	{"a queue for an advisory lock that counts", {.queued_blocker = 5 * s, .count_advisory_locks = true},
	 [](Scene& scene) {
		 scene.table = scene.server.lock(true);
		 scene.busy_reader(); scene.wants(scene.self); scene.reader();
	 },
	 Outcome{Rule::queued_blocker, kCancel, 5 * s}},

	// --- preempt_idle_blockers_after, of somebody else
	{"idle in the way of a migration that preempts", {},
	 [](Scene& scene) { scene.reads_and_idles(); scene.after(s); scene.migration({.preempt_idle_blockers_after = 5 * s}); },
	 Outcome{Rule::preempt_idle_blockers, kTerminate, 6 * s}},
	{"at work in its way", {},
	 [](Scene& scene) { scene.works(); scene.with(scene.self, LockMode::access_share); scene.migration({.preempt_idle_blockers_after = 5 * s}); },
	 kLeftAlone},
	{"idle later in its way", {},
	 [](Scene& scene) { scene.works(); scene.with(scene.self, LockMode::access_share); scene.migration({.preempt_idle_blockers_after = 5 * s}); scene.after(9 * s); scene.idles(); },
	 Outcome{Rule::preempt_idle_blockers, kTerminate, 9 * s + kGap}},
	{"short gaps between statements in its way", {},
	 [](Scene& scene) {
		 scene.works(); scene.with(scene.self, LockMode::access_share); scene.migration({.preempt_idle_blockers_after = 5 * s});
		 for (int i = 0; i < 200; ++i) { scene.after(20 * kMilli); scene.idles(); scene.after(90 * kMilli); scene.works(); }
	 },
	 kLeftAlone},
	{"idle at the end of the chain in its way", {},
	 [](Scene& scene) {
		 const Index row = scene.server.lock();
		 scene.works(); scene.server.hold(scene.self, row, LockMode::exclusive); scene.idles();
		 const Index between = scene.busy_reader(); scene.server.wait(between, row, LockMode::share);
		 scene.migration(); scene.migration({.preempt_idle_blockers_after = 5 * s});
	 },
	 Outcome{Rule::preempt_idle_blockers, kTerminate, 5 * s}},
	{"waits of one statement for many transactions add up", {},
	 [](Scene& scene) {
		 scene.reads_and_idles();
		 const Index first = scene.busy_reader();
		 const Index index = scene.other({.preempt_idle_blockers_after = 5 * s});
		 const Index xact = scene.server.lock(); scene.server.hold(first, xact, LockMode::exclusive);
		 scene.server.work(index); scene.server.wait(index, xact, LockMode::share); scene.after(4 * s);
		 scene.server.advance(kMilli); scene.server.commit(first); scene.server.wait(index, scene.table, LockMode::access_exclusive);
	 },
	 Outcome{Rule::preempt_idle_blockers, kTerminate, 5 * s}},
	{"another statement begins anew", {},
	 [](Scene& scene) {
		 scene.reads_and_idles();
		 const Index migration = scene.migration({.preempt_idle_blockers_after = 5 * s}); scene.after(4 * s);
		 scene.server.stop_waiting(migration); scene.server.work(migration); scene.server.wait(migration, scene.table);
	 },
	 Outcome{Rule::preempt_idle_blockers, kTerminate, 9 * s}},
	{"in its way through an advisory lock", {},
	 [](Scene& scene) {
		 const Index election = scene.server.lock(true);
		 scene.works(); scene.server.hold(scene.self, election, LockMode::exclusive); scene.idles();
		 const Index between = scene.busy_reader(); scene.server.wait(between, election, LockMode::exclusive);
		 scene.migration({.preempt_idle_blockers_after = 5 * s});
	 },
	 kLeftAlone},
	{"through an advisory lock that counts", {.count_advisory_locks = true},
	 [](Scene& scene) {
		 const Index election = scene.server.lock(true);
		 scene.works(); scene.server.hold(scene.self, election, LockMode::exclusive); scene.idles();
		 const Index between = scene.busy_reader(); scene.server.wait(between, election, LockMode::exclusive);
		 scene.migration({.preempt_idle_blockers_after = 5 * s});
	 },
	 Outcome{Rule::preempt_idle_blockers, kTerminate, 5 * s}},
	{"plainly idle with locks of its session", {},
	 [](Scene& scene) { scene.reads_and_idles(); scene.server.commit(scene.self, true); scene.migration({.preempt_idle_blockers_after = 5 * s}); },
	 Outcome{Rule::preempt_idle_blockers, kTerminate, 5 * s}},
	{"a client that has stalled in a statement", {},
	 [](Scene& scene) { scene.works(); scene.with(scene.self, LockMode::access_share); scene.server.stall(scene.self, Wait::client_write); scene.server.run(scene.self); scene.migration({.preempt_idle_blockers_after = 5 * s}); },
	 Outcome{Rule::preempt_idle_blockers, kTerminate, 5 * s}},
	{"exempt", {.mode = Mode::off},
	 [](Scene& scene) { scene.reads_and_idles(); scene.migration({.preempt_idle_blockers_after = 5 * s}); },
	 kLeftAlone},
	{"the migration's role is exempt, and acts on nobody", {},
	 [](Scene& scene) { scene.reads_and_idles(); scene.migration({.mode = Mode::off, .preempt_idle_blockers_after = 5 * s}); },
	 kLeftAlone},

	// --- several limits: the gravest that is broken names the reason
	{"a blocker before an idle transaction", {.idle_in_transaction = 5 * s, .idle_write_transaction = 5 * s, .idle_blocker = 5 * s, .transaction = 5 * s},
	 [](Scene& scene) { scene.writes_and_idles(); scene.migration({.preempt_idle_blockers_after = 5 * s}); },
	 Outcome{Rule::idle_blocker, kTerminate, 5 * s}},
	{"somebody who preempts before an idle transaction", {.idle_in_transaction = 5 * s, .idle_write_transaction = 5 * s, .transaction = 5 * s},
	 [](Scene& scene) { scene.writes_and_idles(); scene.migration({.preempt_idle_blockers_after = 5 * s}); },
	 Outcome{Rule::preempt_idle_blockers, kTerminate, 5 * s}},
	{"written before read", {.idle_in_transaction = 5 * s, .idle_write_transaction = 5 * s, .transaction = 5 * s},
	 [](Scene& scene) { scene.writes_and_idles(); },
	 Outcome{Rule::idle_write_transaction, kTerminate, 5 * s}},
	{"idle before old", {.idle_in_transaction = 5 * s, .transaction = 5 * s, .horizon_age = 1000},
	 [](Scene& scene) { scene.writes_and_idles(); scene.server.pass_transactions(500); },
	 Outcome{Rule::idle_in_transaction, kTerminate, 5 * s}},
	{"the sooner of two", {.idle_in_transaction = 7 * s, .idle_write_transaction = 5 * s, .transaction = 6 * s},
	 [](Scene& scene) { scene.reads_and_idles(); },
	 Outcome{Rule::transaction, kTerminate, 6 * s}},
	{"old before a working blocker", {.active_blocker = 5 * s, .transaction = 5 * s},
	 [](Scene& scene) { scene.works(); scene.with(scene.self, LockMode::row_exclusive); scene.migration(); },
	 Outcome{Rule::transaction, kTerminate, 5 * s}},
};
// clang-format on

void PrintTo(const Case& c, std::ostream* out) {
	*out << c.says;
}

class LimitCases : public testing::TestWithParam<Case> {};

TEST_P(LimitCases, Is) {
	const Case& c = GetParam();
	Scene scene(c.limits);
	c.scene(scene);
	scene.then();
	if (!c.outcome) {
		EXPECT_TRUE(scene.found.empty()) << c.says;
		return;
	}
	ASSERT_FALSE(scene.found.empty()) << c.says << ": left alone";
	const Scene::Done& done = scene.found.front();
	EXPECT_EQ(done.rule, c.outcome->rule) << c.says << ": " << setting(done.rule);
	EXPECT_EQ(done.action, c.outcome->action) << c.says;
	EXPECT_GE(done.at, c.outcome->at) << c.says;
	EXPECT_LE(done.at, c.outcome->at + Policy::kShortestSleep) << c.says;
}

INSTANTIATE_TEST_SUITE_P(All, LimitCases, testing::ValuesIn(kCases));

} // namespace
} // namespace unblock::core::test

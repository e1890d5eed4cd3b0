// A server in virtual time: clients that change state, locks that they hold and
// wait for, a wall clock that can be set; and an enforcer that looks at it
// through the real clock, graph and policy. The server keeps its own books of
// what truly happened, counted on the clock that never steps.
#pragma once

#include "core/clock.h"
#include "core/policy.h"
#include "core/snapshot.h"
#include "core/statement_waits.h"
#include "core/wait_graph.h"

#include <algorithm>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

namespace unblock::core::test {

inline constexpr Micros kMilli = 1'000;
inline constexpr Micros kHour = 3600 * kSecond;

class VirtualServer {
public:
	struct Client {
		Index index = kNone;
		Session session;
		struct Held {
			Index lock;
			LockMode mode;
		};
		std::vector<Held> held;
		Index awaited = kNone;
		LockMode wanted = LockMode::none;
		Time wait_start = 0;
		std::uint64_t place = 0; // grows along each queue

		// The truth, on the clock that never steps.
		Micros waits_since = 0; // for its client
		Micros xact_since = 0;  // the beginning of its last transaction
		Micros lock_since = 0;  // the beginning of its last wait for a lock
		// Of this transaction.
		Micros blocking_idle = 0;
		Micros blocking = 0; // whatever it did in that time
		// Of this statement.
		Micros blocked = 0;
	};

	ClockReading reading() const { return {monotonic_ + offset_, monotonic_}; }
	Time wall() const { return monotonic_ + offset_; }
	Micros monotonic() const { return monotonic_; }

	// Time goes by, and nobody does anything.
	void advance(Micros length) {
		for (Client& client : clients_) {
			if (client.awaited != kNone)
				client.blocked += length;
			if (!is_hard_blocker(client))
				continue;
			client.blocking += length;
			if (waits_for_client(client))
				client.blocking_idle += length;
		}
		monotonic_ += length;
	}

	// Somebody sets the wall clock.
	void step(Micros by) { offset_ += by; }

	Index lock(bool advisory = false) {
		advisory_.push_back(advisory);
		return static_cast<Index>(advisory_.size() - 1);
	}

	Index connect(const Limits& limits = {}) {
		Client& client = clients_.emplace_back();
		client.session.pid = next_pid_++;
		client.index = client.session.leader = static_cast<Index>(clients_.size() - 1);
		client.session.kind = Kind::client;
		client.session.limits = limits;
		client.session.backend_start = wall();
		turn(client, State::idle);
		return client.index;
	}

	// A statement begins, and with it a transaction where there is none. In an aborted one it changes
	// nothing but the spell.
	void work(Index index) {
		Client& self = clients_[index];
		if (self.session.xact_start == 0)
			self.blocking_idle = self.blocking = 0;
		self.blocked = 0;
		if (self.session.state == State::idle) {
			self.session.xact_start = wall();
			self.xact_since = monotonic_;
		}
		self.session.query_start = wall();
		turn(self, State::active);
	}

	// The transaction gets an id, or a snapshot that it keeps.
	void write(Index index) { clients_[index].session.xid = next_xid_++; }
	void take_snapshot(Index index) { clients_[index].session.xmin = next_xid_; }
	// Other transactions take ids.
	void pass_transactions(std::uint32_t count) { next_xid_ += count; }
	std::uint32_t next_xid() const { return next_xid_; }

	void idle_in_transaction(Index index) { turn(clients_[index], State::idle_in_transaction); }

	// An error: the transaction is known by this spell from here on.
	void abort(Index index) {
		Client& self = clients_[index];
		end_transaction(self);
		turn(self, State::idle_in_transaction_aborted);
	}

	void commit(Index index, bool keep_locks = false) {
		Client& self = clients_[index];
		end_transaction(self);
		if (!keep_locks)
			self.held.clear();
		turn(self, State::idle);
	}

	// The statement goes on, but its client is silent and its process does not run.
	void stall(Index index, Wait wait = Wait::client_read) {
		Client& self = clients_[index];
		self.session.wait = wait;
		self.waits_since = monotonic_;
	}

	// A stalled statement's process runs, and waits again.
	void run(Index index) {
		Client& self = clients_[index];
		++self.session.runs;
		self.waits_since = monotonic_;
	}

	void hold(Index index, Index lock, LockMode mode = LockMode::access_share) {
		clients_[index].held.push_back({lock, mode});
	}

	void wait(Index index, Index lock, LockMode mode = LockMode::access_exclusive) {
		Client& self = clients_[index];
		self.awaited = lock;
		self.wanted = mode;
		self.wait_start = wall();
		self.place = next_place_++;
		self.lock_since = monotonic_;
	}
	void stop_waiting(Index index) { clients_[index].awaited = kNone; }

	// The session has ended.
	void leave(Index index) {
		Client& self = clients_[index];
		commit(index);
		self.awaited = kNone;
		self.session.kind = Kind::unknown;
	}

	Client& client(Index index) { return clients_[index]; }
	const std::deque<Client>& clients() const { return clients_; }

	static bool waits_for_client(const Client& client) {
		const Session& session = client.session;
		return session.state == State::idle || session.state == State::idle_in_transaction ||
		       session.state == State::idle_in_transaction_aborted ||
		       (session.state == State::active && session.wait != Wait::other);
	}

	bool is_hard_blocker(const Client& blocker) const {
		for (const Client::Held& held : blocker.held)
			for (const Client& waiter : clients_)
				if (&waiter != &blocker && waiter.awaited == held.lock &&
				    conflict(waiter.wanted, core::bit(held.mode)) &&
				    (!advisory_[held.lock] || blocker.session.limits.count_advisory_locks))
					return true;
		return false;
	}

	// Whether somebody else holds the lock that it awaits in a conflicting mode.
	bool is_held_against(const Client& waiter) const {
		return std::ranges::any_of(
		    clients_, [&](const Client& other) { return &other != &waiter && holds_against(other, waiter); });
	}
	bool is_queued_behind(const Client& waiter, const Client& other) const {
		return waiter.awaited != kNone && waiter.awaited == other.awaited && other.place < waiter.place &&
		       conflict(waiter.wanted, core::bit(other.wanted));
	}
	// Whether it waits for the other, directly or through others.
	bool waits_for(const Client& waiter, const Client& other) const {
		std::vector<const Client*> reached = {&waiter};
		for (std::size_t i = 0; i < reached.size(); ++i)
			for (const Client& next : clients_)
				if (std::ranges::find(reached, &next) == reached.end() &&
				    (holds_against(next, *reached[i]) || is_queued_behind(*reached[i], next))) {
					if (&next == &other)
						return true;
					reached.push_back(&next);
				}
		return false;
	}
	static bool holds_against(const Client& holder, const Client& waiter) {
		return std::ranges::any_of(holder.held, [&](const Client::Held& held) {
			return held.lock == waiter.awaited && conflict(waiter.wanted, core::bit(held.mode));
		});
	}

	// What the server publishes. Valid until the next call.
	struct Published {
		std::vector<Session> sessions;
		std::vector<Lock> locks;
		std::vector<Holder> holders;
		std::vector<Waiter> waiters;
	};
	Published publish() const {
		Published out;
		for (const Client& client : clients_)
			out.sessions.push_back(client.session);
		for (Index lock = 0; lock < advisory_.size(); ++lock)
			publish(lock, out);
		return out;
	}

private:
	static void end_transaction(Client& client) {
		client.session.xact_start = 0;
		client.session.xid = client.session.xmin = 0;
		client.blocking_idle = client.blocking = 0;
	}

	void turn(Client& client, State state) {
		client.session.state = state;
		client.session.wait = state == State::active ? Wait::other : Wait::client_read;
		client.session.state_start = wall();
		++client.session.runs;
		client.waits_since = monotonic_;
		// What limits count from is the enforcer's business; reports take the stamp as it is.
		client.session.idle_since = client.session.state_start;
	}

	void publish(Index lock, Published& out) const {
		Lock awaited;
		awaited.advisory = advisory_[lock];
		awaited.label = "relation public.t";
		awaited.first_holder = static_cast<Index>(out.holders.size());
		awaited.first_waiter = static_cast<Index>(out.waiters.size());
		const auto self = static_cast<Index>(out.locks.size());
		std::vector<const Client*> queue;
		for (const Client& client : clients_) {
			ModeMask modes = 0;
			for (const Client::Held& held : client.held)
				if (held.lock == lock)
					modes = static_cast<ModeMask>(modes | core::bit(held.mode));
			if (modes != 0)
				out.holders.push_back({client.index, modes});
			if (client.awaited == lock)
				queue.push_back(&client);
		}
		std::ranges::sort(queue, {}, &Client::place);
		for (const Client* client : queue)
			out.waiters.push_back({client->index, self, client->wanted, client->wait_start});
		awaited.holders = static_cast<Index>(out.holders.size()) - awaited.first_holder;
		awaited.waiters = static_cast<Index>(out.waiters.size()) - awaited.first_waiter;
		if (awaited.waiters == 0)
			out.holders.resize(awaited.first_holder);
		else
			out.locks.push_back(awaited);
	}

	Micros monotonic_ = 5 * kHour;
	Micros offset_ = 800'000 * kHour;
	std::int32_t next_pid_ = 100;
	std::uint32_t next_xid_ = 1000;
	std::uint64_t next_place_ = 0;
	std::deque<Client> clients_; // by index of their session
	std::vector<bool> advisory_; // by lock
};

// The enforcer of a virtual server. A copy of it goes its own way from there on.
class VirtualEnforcer {
public:
	explicit VirtualEnforcer(Micros smallest_limit = 0, int max_actions = 30)
	    : cluster{.smallest_limit = smallest_limit, .max_actions_per_minute = max_actions} {}

	// `mode`: of all sessions, whatever they have set.
	Turn look(const VirtualServer& server, std::optional<Mode> mode = {}) {
		VirtualServer::Published seen = server.publish();
		if (mode)
			for (Session& session : seen.sessions)
				session.limits.mode = *mode;
		clock.look(server.reading());
		clock.correct(seen.sessions, seen.waiters);
		const Snapshot snapshot{server.wall(), seen.sessions, seen.locks,
		                        seen.holders,  seen.waiters,  server.next_xid()};
		waits.look(snapshot, seen.sessions, server.monotonic());
		return last = policy.look(WaitGraph(snapshot), cluster, server.monotonic());
	}

	// The last look's decision on a session is carried out, or found that it had changed.
	void carry_out(const VirtualServer& server, Index session, bool sent = true) {
		for (const Decision& decision : last.decisions)
			if (decision.session == session)
				policy.carried_out(decision, server.clients()[session].session,
				                   sent ? std::optional(server.monotonic()) : std::nullopt);
	}

	// Time goes by with a look every `interval`, the first one at its end, until there is a decision.
	// Returns the decisions, none if there were none in `at_most`.
	std::vector<Decision> watch(VirtualServer& server, Micros interval, Micros at_most) {
		for (const Micros end = server.monotonic() + at_most; server.monotonic() < end;) {
			server.advance(interval);
			if (Turn turn = look(server); !turn.decisions.empty())
				return turn.decisions;
		}
		return {};
	}

	Clock clock;
	StatementWaits waits;
	Policy policy;
	ClusterSettings cluster;
	Turn last;
};

} // namespace unblock::core::test
